// The reference for Transformers.js folders: Transformers.js itself, on Node.js. Runs in the folder that has the package.
//
//   node transformersjs.mjs MODELS NAME DTYPE THREADS
//
// One JSON request a line on stdin, one answer a line on stdout. Greedy; the streamer only takes the time of each
// token, so that no text is made here, while ours is.
import { createInterface } from "node:readline";
import { AutoModelForCausalLM, AutoTokenizer, env } from "@huggingface/transformers";

const [models, name, dtype, threads] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = `${models}/`;

const session_options = { intraOpNumThreads: Number(threads), interOpNumThreads: 1 };
const tokenizer = await AutoTokenizer.from_pretrained(name);
const model = await AutoModelForCausalLM.from_pretrained(name, { dtype, device: "cpu", session_options });

async function generate({ prompt, tokens }) {
  const inputs = tokenizer(prompt, { add_special_tokens: false });
  const arrivals = [];
  const streamer = { put: () => arrivals.push(performance.now()), end: () => {} };
  const output = await model.generate({ ...inputs, max_new_tokens: tokens, do_sample: false, streamer });
  // The streamer gets the prompt first, then each token.
  const [, first, ...later] = arrivals;
  const generated = output.slice(null, [inputs.input_ids.dims[1], null]);
  const [text] = tokenizer.batch_decode(generated, { skip_special_tokens: true, clean_up_tokenization_spaces: false });
  return { rate: (later.length / (later.at(-1) - first)) * 1000, tokens: arrivals.length - 1, text };
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await generate(JSON.parse(line)))}\n`);
}
