// Chat Completions in words, and the stored ones.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const ask = { model: "gpt-4o-mini", messages: [{ role: "user", content: "Say hello." }], max_completion_tokens: 16 };

test("create", async () => {
  const completion = await client.chat.completions.create(ask);
  assert.notEqual(completion.choices[0].message.content, "");
  assert.ok(completion.usage.completion_tokens > 0);
});

test("stream, with the usage last", async () => {
  const chunks = [];
  const options = { stream: true, stream_options: { include_usage: true } };
  for await (const chunk of await client.chat.completions.create({ ...ask, ...options })) chunks.push(chunk);
  const text = chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.delta.content ?? "")).join("");
  assert.notEqual(text, "");
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.ok(chunks.at(-1).usage.total_tokens > 0);
});

test("the stream helper", async () => {
  let text = "";
  const stream = client.chat.completions.stream(ask).on("content", (delta) => (text += delta));
  assert.equal((await stream.finalMessage()).content, text);
});

test("several choices with log probabilities", async () => {
  const completion = await client.chat.completions.create({ ...ask, n: 2, seed: 5, logprobs: true, top_logprobs: 2 });
  assert.deepEqual(completion.choices.map((choice) => choice.index), [0, 1]);
  for (const choice of completion.choices) {
    assert.equal(choice.logprobs.content.map((token) => token.token).join(""), choice.message.content);
  }
});

test("stored completions", async () => {
  const metadata = { run: "node" };
  const made = await client.chat.completions.create({ ...ask, store: true, metadata });
  const ids = async (filter) => {
    const found = [];
    for await (const completion of client.chat.completions.list({ metadata: filter })) found.push(completion.id);
    return found;
  };
  assert.deepEqual(await ids(metadata), [made.id]);
  await client.chat.completions.update(made.id, { metadata: { run: "changed" } });
  assert.deepEqual(await ids(metadata), []);
  const messages = [];
  for await (const message of client.chat.completions.messages.list(made.id)) messages.push(message.content);
  assert.deepEqual(messages, ["Say hello."]);
  await client.chat.completions.delete(made.id);
  await assert.rejects(client.chat.completions.retrieve(made.id), OpenAI.NotFoundError);
});
