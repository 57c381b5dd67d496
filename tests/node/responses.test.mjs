// Responses in words: whole, streamed, kept and gone on from.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 }); // the two variables of `antiphon env` are all it is given
// The schema is enforced, so this goes on for certain.
const said = { type: "array", items: { enum: ["more"] }, minItems: 400 };
const schema = { type: "object", properties: { said }, required: ["said"], additionalProperties: false };
const long = { model: "gpt-5-mini", input: "Go on.", text: { format: { type: "json_schema", name: "long", schema, strict: true } } };
const ask = { model: "gpt-5-mini", input: "Say hello.", max_output_tokens: 16 };

test("create, retrieve, list the input, delete", async () => {
  const response = await client.responses.create({ ...ask, metadata: { a: "b" } });
  assert.equal(response.object, "response");
  assert.notEqual(response.output_text, "");
  assert.deepEqual(response.metadata, { a: "b" });
  const kept = await client.responses.retrieve(response.id);
  assert.deepEqual(kept.output, response.output);
  const items = [];
  for await (const item of client.responses.inputItems.list(response.id)) items.push(item);
  assert.deepEqual(items.map((item) => [item.type, item.content[0].text]), [["message", "Say hello."]]);
  await client.responses.delete(response.id);
  await assert.rejects(client.responses.retrieve(response.id), OpenAI.NotFoundError);
});

test("go on from a response", async () => {
  const first = await client.responses.create(ask);
  const second = await client.responses.create({ ...ask, input: "Again.", previous_response_id: first.id });
  assert.equal(second.previous_response_id, first.id);
  assert.ok(second.usage.input_tokens > first.usage.input_tokens);
});

test("stream", async () => {
  const events = [];
  for await (const event of await client.responses.create({ ...ask, stream: true })) events.push(event);
  assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, index) => index));
  const text = events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta);
  assert.ok(text.length > 1);
  const last = events.at(-1);
  assert.ok(["response.completed", "response.incomplete"].includes(last.type));
  assert.equal(last.response.output[0].content[0].text, text.join(""));
});

test("the stream helper", async () => {
  const deltas = [];
  const stream = client.responses
    .stream({ model: "gpt-5-mini", input: "Say hello.", temperature: 0 })
    .on("response.output_text.delta", (event) => deltas.push(event.delta));
  const final = await stream.finalResponse();
  assert.equal(final.output_text, deltas.join(""));
});

test("a stream that is given up", async () => {
  const stream = await client.responses.create({ ...long, stream: true });
  let begun;
  for await (const event of stream) {
    if (event.type === "response.created") begun = event.response.id;
    if (event.type === "response.output_text.delta") break; // leaving the loop hangs up
  }
  const deadline = Date.now() + 10_000;
  while ((await client.responses.retrieve(begun)).status !== "cancelled") {
    assert.ok(Date.now() < deadline, "it was not cancelled");
  }
});

test("models", async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.ok(names.includes("gpt-5-mini"));
  assert.equal((await client.models.retrieve("gpt-5-mini")).id, "gpt-5-mini");
});
