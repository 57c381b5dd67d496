// Structured outputs through the helpers: the schema is enforced, so that parsing cannot fail.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ maxRetries: 0 });
const Person = z.object({ name: z.string(), age: z.number().int(), mood: z.enum(["good", "bad"]) });
const text = "Ada Lovelace, 36 years old, was happy.";

test("responses.parse", async () => {
  const response = await client.responses.parse({
    model: "gpt-5-mini",
    input: text,
    text: { format: zodTextFormat(Person, "person") },
    temperature: 0,
  });
  assert.ok(Person.safeParse(response.output_parsed).success);
});

test("responses.stream with a schema", async () => {
  const stream = client.responses.stream({
    model: "gpt-5-mini",
    input: text,
    text: { format: zodTextFormat(Person, "person") },
    temperature: 0,
  });
  assert.ok(Person.safeParse((await stream.finalResponse()).output_parsed).success);
});

test("chat.completions.parse", async () => {
  const completion = await client.chat.completions.parse({
    model: "gpt-4o-mini",
    messages: [{ role: "user", content: text }],
    response_format: zodResponseFormat(Person, "person"),
    temperature: 0,
  });
  assert.ok(Person.safeParse(completion.choices[0].message.parsed).success);
});
