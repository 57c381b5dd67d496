// Refusals arrive as the SDK's own errors, with what is wrong and where.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const ask = { model: "gpt-5-mini", input: "Say hello." };

async function refused(promise, kind, expected) {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof kind, `${error}`);
    for (const [name, value] of Object.entries(expected)) assert.equal(error[name], value);
    assert.match(error.requestID, /^req_/);
    return true;
  });
}

test("an unknown model", () =>
  refused(client.responses.create({ ...ask, model: "gpt-1" }), OpenAI.NotFoundError, { code: "model_not_found", param: "model" }));

test("a value out of range", () =>
  refused(client.responses.create({ ...ask, temperature: 3 }), OpenAI.BadRequestError, { status: 400, param: "temperature" }));

test("a value of the wrong type, deep inside", () =>
  refused(
    client.responses.create({ ...ask, input: [{ role: "user", content: [{ type: "input_text", text: 5 }] }] }),
    OpenAI.BadRequestError,
    { code: "invalid_type", param: "input[0].content[0].text" },
  ));

test("a conversation that is too long, also of a stream", () =>
  refused(
    client.chat.completions.create({
      model: "gpt-4o-mini",
      messages: [{ role: "user", content: "word ".repeat(5000) }],
      stream: true,
    }),
    OpenAI.BadRequestError,
    { code: "context_length_exceeded", param: "messages" },
  ));

test("a wrong key", () =>
  refused(
    new OpenAI({ apiKey: "sk-antiphon-wrong", maxRetries: 0 }).models.list(),
    OpenAI.AuthenticationError,
    { code: "invalid_api_key" },
  ));
