// What an extension's author would write in TypeScript, and what the compiler is to refuse: the test compiles it.
import {
  connect, NativeHostError, send, type Figures, type Message, type NativeHostClient, type Tool,
} from "../../extension/client.js";

const host: NativeHostClient = connect({ onStatus: (status) => status === "reconnecting", onEvent: tell });

function tell(frame: { event: string }): void {
  console.log(frame.event);
}

const add: Tool = {
  type: "function",
  function: { name: "add", description: "Adds.", parameters: { type: "object", properties: { a: { type: "number" } } } },
};

export async function chat(history: readonly Message[], signal: AbortSignal): Promise<Message> {
  await host.load({ model: "demo", options: { context_length: 4096 } }, {
    onProgress: ({ progress, message }) => console.log(progress?.toFixed(2), message),
  });
  const answer = await host.generate(
    { messages: history, tools: [add], settings: { temperature: 0.2, max_tokens: 200, stop: ["END"] } },
    { signal, onPartial: ({ text, reasoning, seq }) => console.log(text, reasoning ?? "", seq + 1) },
  );
  const figures: Figures = answer.stats;
  console.log(figures.tokens_per_second?.toFixed(1), answer.finish_reason === "length");
  const { text: content, tool_calls, reasoning } = answer;
  return { role: "assistant", content, tool_calls, reasoning };
}

export async function describe(picture: HTMLCanvasElement): Promise<string> {
  const content = [
    { type: "image", data: picture.toDataURL() },
    { type: "text", text: "What is this?" },
  ] as const;
  return (await host.generate({ messages: [{ role: "user", content }], stream: false })).text;
}

export async function read(prompt: string): Promise<string> {
  const { job_id } = await send("generate", { prompt });
  let text = "";
  for (let cursor = 0, over = false; !over; ) {
    const news = await send("read_job", { job_id, cursor, wait_ms: 30_000 });
    text += news.text;
    cursor = news.cursor;
    over = ["finished", "cancelled", "failed"].includes(news.state);
  }
  return text;
}

export async function explain(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "";
  } catch (error) {
    if (!(error instanceof NativeHostError)) throw error;
    if (error.code === "host_not_found" || error.code === "host_forbidden") return error.details.install ?? "";
    if (error.code === "out_of_memory") return `${error.details.needed_bytes} bytes are needed`;
    return error.reply?.text ?? error.message;
  }
}

export async function more(): Promise<void> {
  const { models } = await host.listModels();
  console.log(models[0]?.needed_bytes, (await host.getState()).active, (await host.request("list_jobs")).jobs.length);
  console.log((await host.embed({ input: ["a", "b"] })).embeddings[0]?.[0], (await send("ping")).http_url);
  const loading = await send("load", { model: "demo", background: true });
  console.log(loading.job_id, (await send("generate", { prompt: "a", stream: false })).text);
  console.log((await host.updateSettings({ seed: null })).settings.max_tokens);
}

export async function wrong(error: NativeHostError): Promise<void> {
  // @ts-expect-error  there is neither a prompt nor messages
  await host.generate({ settings: { temperature: 0 } });
  // @ts-expect-error  there are both
  await host.generate({ prompt: "a", messages: [{ role: "user", content: "a" }] });
  // @ts-expect-error  no such setting
  await host.generate({ prompt: "a", settings: { temprature: 0 } });
  // @ts-expect-error  no such role
  await host.generate({ messages: [{ role: "bot", content: "a" }] });
  // @ts-expect-error  the field is called data
  await host.generate({ messages: [{ role: "user", content: [{ type: "image", url: "data:," }] }] });
  // @ts-expect-error  no such action
  await host.request("pull_model", { model: "a" });
  // @ts-expect-error  a load names its model
  await host.request("load");
  // @ts-expect-error  one message cannot follow a job: read_job does that
  await send("attach", { job_id: "a" });
  // @ts-expect-error  no such code
  console.log(error.code === "not_installed");
  // @ts-expect-error  a streaming generation gives its job alone
  console.log((await send("generate", { prompt: "a" })).text);
}
