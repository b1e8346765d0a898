// Asks a host through the openai package, and prints what came as one JSON object. Arguments: base URL, key.
import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 60_000 });
const asked = { model: "demo", messages: [{ role: "user", content: "What are you?" }], temperature: 0 };

async function collect(stream) {
  const all = [];
  for await (const one of stream) all.push(one);
  return all;
}

async function errorOf(ask) {
  try {
    await ask();
  } catch (error) {
    return { name: error.constructor.name, status: error.status, code: error.code, param: error.param, type: error.type };
  }
  return null;
}

const stranger = new OpenAI({ baseURL, apiKey: "wrong", maxRetries: 0 });
const chunks = await collect(
  await client.chat.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } }),
);
const events = await collect(await client.responses.create({ model: "demo", input: "What are you?", temperature: 0, stream: true }));
const leaving = await client.chat.completions.create({ model: "echo", messages: [{ role: "user", content: "w ".repeat(1000) }], stream: true });
for await (const _ of leaving) break;

const add = { name: "add", parameters: { type: "object", properties: { a: { type: "integer" } } } };
const calling = {
  model: "caller.gguf",
  messages: asked.messages,
  temperature: 0,
  tools: [{ type: "function", function: { ...add, function: (args) => args.a + 1, parse: JSON.parse } }],
};
const runner = client.chat.completions.runTools({ ...calling, stream: true }, { maxChatCompletions: 2 });
await runner.done().catch(() => {}); // its answer is always a call, so it ends at its limit

console.log(
  JSON.stringify({
    whole: await client.chat.completions.create(asked),
    chunks,
    completion: await client.completions.create({ model: "demo", prompt: "Hello", temperature: 0, max_tokens: 4 }),
    response: await client.responses.create({ model: "demo", input: "What are you?", temperature: 0 }),
    events,
    vector: (await client.embeddings.create({ model: "embedder", input: "a cat" })).data[0].embedding,
    plain: (await client.embeddings.create({ model: "embedder", input: "a cat", encoding_format: "float" })).data[0].embedding,
    called: await client.chat.completions.create({ ...calling, tools: [{ type: "function", function: add }] }),
    turns: runner.messages,
    items: (
      await client.responses
        .stream({ ...calling, messages: undefined, input: "Add.", tools: [{ type: "function", ...add }] })
        .finalResponse()
    ).output,
    models: (await collect(await client.models.list())).map((model) => model.id),
    errors: {
      key: await errorOf(() => stranger.models.list()),
      missing: await errorOf(() => client.chat.completions.create({ ...asked, model: "no-such-model" })),
      refused: await errorOf(() => client.chat.completions.create({ ...asked, n: 2 })),
    },
  }),
);
