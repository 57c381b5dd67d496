// Tools: called as they must be, with arguments that fit, and answered.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const parameters = {
  type: "object",
  properties: { city: { type: "string" }, unit: { type: "string", enum: ["celsius", "fahrenheit"] } },
  required: ["city", "unit"],
  additionalProperties: false,
};
const weather = { name: "get_weather", description: "The weather of a city.", parameters, strict: true };
const question = "What is the weather in Paris?";
const limits = { temperature: 0, parallel_tool_calls: false };

function check(json) {
  const given = JSON.parse(json);
  assert.deepEqual(Object.keys(given), ["city", "unit"]);
  assert.equal(typeof given.city, "string");
  assert.ok(parameters.properties.unit.enum.includes(given.unit));
}

test("the loop of a tool", async () => {
  const ask = { model: "gpt-5-mini", tools: [{ type: "function", ...weather }], max_output_tokens: 60, ...limits };
  const asked = await client.responses.create({ ...ask, input: question, tool_choice: "required" });
  assert.deepEqual(asked.output.map((item) => item.type), ["function_call"]);
  check(asked.output[0].arguments);
  const result = { type: "function_call_output", call_id: asked.output[0].call_id, output: "18 degrees" };
  const answered = await client.responses.create({ ...ask, input: [result], previous_response_id: asked.id });
  assert.ok(answered.output.length > 0);
});

test("arguments as they are made", async () => {
  const ask = { model: "gpt-5-mini", input: question, tools: [{ type: "function", ...weather }], ...limits };
  const deltas = [];
  const stream = client.responses
    .stream({ ...ask, tool_choice: { type: "function", name: "get_weather" } })
    .on("response.function_call_arguments.delta", (event) => deltas.push(event.delta));
  const [call] = (await stream.finalResponse()).output;
  assert.ok(deltas.length > 3);
  assert.equal(deltas.join(""), call.arguments);
  check(call.arguments);
});

test("the helper that runs tools", async () => {
  let given;
  const runner = client.chat.completions.runTools({
    model: "gpt-4o-mini",
    messages: [{ role: "user", content: question }],
    max_completion_tokens: 60,
    ...limits,
    tool_choice: { type: "function", function: { name: "get_weather" } }, // the helper ends after one named call
    tools: [
      { type: "function", function: { ...weather, parse: JSON.parse, function: (args) => ((given = args), "18 degrees") } },
    ],
  });
  await runner.done();
  check(JSON.stringify(given));
});
