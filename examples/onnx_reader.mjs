// Generates and scores text with an ONNX export, in node:
//
//     npm install onnxruntime-node
//     node examples/onnx_reader.mjs runs/small-ptb/onnx --prompt="the company said"
//     node examples/onnx_reader.mjs runs/small-ptb/onnx --text="the company said"
//
// In a browser, `Reader` takes onnxruntime-web in place of onnxruntime-node:
//
//     import * as ort from "onnxruntime-web";
//     import { Reader } from "./onnx_reader.mjs";
//     const get = (name) => fetch(`/onnx/${name}`);
//     const model = new Uint8Array(await (await get("model.onnx")).arrayBuffer());
//     const reader = await Reader.open(ort, model, await (await get("model.json")).json());
//     await reader.generate("the company said", { numTokens: 50 });

// The white space of Python's str.split, which made the tokens.
const SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;
const CHUNK = 256; // tokens that are scored at once

export class Reader {
  // Takes the runtime, the bytes of model.onnx, and what model.json says.
  static async open(ort, model, facts) {
    if (![1, 2].includes(facts.format))
      throw new Error(`of format ${facts.format}, not 1 or 2`);
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", model));
    const hex = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    if (hex !== facts.sha256)
      throw new Error("model.onnx is damaged, or not that of model.json");
    return new Reader(ort, await ort.InferenceSession.create(model), facts);
  }

  constructor(ort, session, facts) {
    Object.assign(this, { ort, session, facts, tokens: facts.tokens });
    this.ids = new Map(facts.tokens.map((token, index) => [token, index]));
    this.words = facts.token_type === "word";
    this.bytes = facts.token_type === "byte"; // an id is a byte of UTF-8
    this.start = facts.line_end_id === null ? [] : [facts.line_end_id];
  }

  // Ids of a text; closeLines ends the last line, as in a corpus.
  encode(text, closeLines) {
    if (this.bytes) return [...new TextEncoder().encode(text)];
    const { normalize, line_end_id: lineEnd, unknown_id: unknown } = this.facts;
    if (normalize === "letters")
      text = text.replace(/[^A-Za-z]+/g, " ").replace(/^ +/, "").toLowerCase();
    text = text.replaceAll("\r\n", "\n");
    if (this.words && closeLines && text && !text.endsWith("\n")) text += "\n";
    if (this.words && lineEnd !== null)
      text = text.replaceAll("\n", ` ${this.tokens[lineEnd]} `);
    const tokens = this.words ? text.split(SPACE).filter(Boolean) : [...text];
    const ids = tokens.map((token) => this.ids.get(token) ?? unknown);
    return ids.filter((id) => id !== null);
  }

  // The text of ids.
  decode(ids) {
    if (this.bytes)
      return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(ids));
    const lineEnd = this.facts.line_end_id;
    const tokens = ids.map((id) => (id === lineEnd ? "\n" : this.tokens[id]));
    return this.words ? tokens.join(" ").replace(/ ?\n ?/g, "\n") : tokens.join("");
  }

  // Reads ids after a state: log-probabilities of each next token, and the state.
  async step(ids, state) {
    const width = this.facts.state.reduce((sum, part) => sum + part.size, 0);
    state ??= new this.ort.Tensor("float32", new Float32Array(width), [1, width]);
    const input = new this.ort.Tensor("int32", Int32Array.from(ids), [1, ids.length]);
    const result = await this.session.run({ ids: input, state });
    const { data } = result.log_probabilities;
    const size = this.tokens.length;
    const scores = ids.map((_, t) => data.subarray(t * size, (t + 1) * size));
    return [scores, result.next_state];
  }

  // Continues a prompt, which is read after a line end.
  async generate(prompt, { numTokens = 50, temperature = 0.8, topK = 40 } = {}) {
    const before = [...this.start, ...this.encode(prompt, false)];
    if (!before.length)
      throw new Error("an empty prompt, and no line end to start from");
    let [scores, state] = await this.step(before);
    const drawn = [];
    while (drawn.length < numTokens) {
      drawn.push(this.draw(scores.at(-1), temperature, topK));
      [scores, state] = await this.step(drawn.slice(-1), state);
    }
    return this.decode([...before.slice(this.start.length), ...drawn]);
  }

  // Draws an id among the likeliest; temperature 0 takes the first of them.
  draw(scores, temperature, topK) {
    const ids = [...scores.keys()].filter((id) => id !== this.facts.unknown_id);
    ids.sort((a, b) => scores[b] - scores[a]);
    const likeliest = topK ? ids.slice(0, topK) : ids;
    const scale = Math.max(temperature, 1e-9);
    const weights = likeliest.map((id) => Math.exp((scores[id] - scores[ids[0]]) / scale));
    let point = Math.random() * weights.reduce((sum, weight) => sum + weight, 0);
    return likeliest.find((_, place) => (point -= weights[place]) < 0) ?? likeliest[0];
  }

  // Tokens of a text and the nats of each, as a sentence after a line end.
  async score(text) {
    const ids = [...this.start, ...this.encode(text, true)];
    const nats = [];
    let scores, state;
    for (let begin = 0; begin + 1 < ids.length; begin += CHUNK) {
      const targets = ids.slice(begin + 1, begin + 1 + CHUNK);
      [scores, state] = await this.step(ids.slice(begin, begin + targets.length), state);
      nats.push(...targets.map((id, t) => -scores[t][id]));
    }
    return { tokens: ids.slice(1).map((id) => this.tokens[id]), nats };
  }
}

// The command line; a mistake ends in one line.
async function main(parseArgs, readFile) {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      text: { type: "string" },
      prompt: { type: "string", default: "" },
      num_tokens: { type: "string", default: "50" },
      temperature: { type: "string", default: "0.8" },
      top_k: { type: "string", default: "40" },
    },
  });
  if (positionals.length !== 1) throw new Error("name one folder, with model.onnx");
  const [folder] = positionals;
  const ort = await import("onnxruntime-node").catch(() => {
    throw new Error("onnxruntime-node is missing (npm install onnxruntime-node)");
  });
  const facts = JSON.parse(await readFile(`${folder}/model.json`, "utf-8"));
  const model = new Uint8Array(await readFile(`${folder}/model.onnx`));
  const reader = await Reader.open(ort, model, facts);
  if (values.text === undefined) {
    const drawing = { numTokens: +values.num_tokens, temperature: +values.temperature };
    console.log(await reader.generate(values.prompt, { ...drawing, topK: +values.top_k }));
    return;
  }
  const { tokens, nats } = await reader.score(values.text);
  tokens.forEach((token, place) =>
    console.log(JSON.stringify(token).padEnd(20), nats[place].toFixed(4)),
  );
  const mean = nats.reduce((sum, value) => sum + value, 0) / nats.length;
  console.log(`perplexity ${Math.exp(mean).toFixed(3)}`);
}

if (globalThis.process?.argv[1]?.endsWith("onnx_reader.mjs")) {
  const { parseArgs } = await import("node:util");
  const { readFile } = await import("node:fs/promises");
  await main(parseArgs, readFile).catch((error) => {
    console.error(`onnx_reader.mjs: ${String(error.message).split("\n")[0]}`);
    process.exitCode = 2;
  });
}
