/**
 * Types of client.js, to be copied beside it. What the fields mean is in PROTOCOL.md, whose names they have;
 * tests/extension/test_client_types.py holds them against what the host itself reads and writes.
 */

export const HOST_NAME: string;

/** Open a client. The port is opened by the first request, and again after it was lost. */
export function connect(options?: ClientOptions): NativeHostClient;

/**
 * One request without a port: the browser starts the host, takes one reply, and closes it. Loaded models stay.
 * A generation gives its result with `stream: false`; else, as all in the background, the job that `read_job` reads.
 */
export function send(
  action: "generate", fields: GenerateFields & { stream: false; background?: false }, options?: SendOptions,
): Promise<Generated>;
export function send(action: "generate", fields: GenerateFields, options?: SendOptions): Promise<Accepted>;
export function send<A extends Action>(
  action: A, fields: Actions[A]["fields"] & { background: true }, options?: SendOptions,
): Promise<Accepted>;
export function send<A extends Exclude<Action, "generate" | "attach">>(
  action: A, ...rest: Rest<A, SendOptions>
): Promise<Actions[A]["result"]>;

/** A port to the host, kept open, on which any number of requests run at once. */
export class NativeHostClient {
  constructor(options?: ClientOptions);
  ping(): Promise<Pong>;
  /** Load a model; `onProgress` hears at once that it begins. A model that is loaded already is loaded at once. */
  load(fields: LoadFields, handlers?: Handlers | null): Promise<Loaded>;
  unload(fields?: UnloadFields): Promise<Unloaded>;
  /** Generate; when the port is lost meanwhile it goes on where it was. `stream: false`: nothing is heard before the result. */
  generate(fields: GenerateFields, handlers?: Handlers | null): Promise<Generated>;
  /** Stop one generation (`job_id`), those of a `model`, or all of this extension. */
  stop(fields?: StopFields): Promise<Stopped>;
  /** Go on with a job that another port or a stopped service worker began, from `cursor` on: the next `seq`, or 0. */
  attach<R = Generated>(fields: AttachFields, handlers?: Handlers | null): Promise<R>;
  /** A vector for each text of `input`, from a loaded embedding model. */
  embed(fields: EmbedFields): Promise<Embedded>;
  listModels(): Promise<ModelList>;
  getState(fields?: ModelFields): Promise<State>;
  getStats(fields?: GetStatsFields): Promise<Stats>;
  updateSettings(settings: Settings, fields?: ModelFields): Promise<SettingsUpdated>;
  /** Send any action and resolve with its result. */
  request<A extends Action>(action: A, ...rest: Rest<A, Handlers | null>): Promise<Actions[A]["result"]>;
  /** Close the port. Requests under way fail with `closed`; a generation may be attached to later. */
  close(): void;
}

/** An error reply of the host, or a failure to reach it. `message` is a sentence for a person. */
export class NativeHostError extends Error {
  constructor(code: ErrorCode, message: string, reply?: ErrorReply | null, details?: ErrorDetails);
  code: ErrorCode; details: ErrorDetails;
  /** The host's whole reply, where it sent one; that of a generation that had begun has its `text` until then. */
  reply: ErrorReply | null;
}

export interface SendOptions { hostName?: string }

export interface ClientOptions {
  hostName?: string;
  /** What the host says unasked: a model crashed ... */
  onEvent?: (frame: HostEvent) => void;
  onStatus?: (status: "connected" | "reconnecting" | "disconnected") => void;
}

/** What may be called before a request's result. What one of them throws is reported as any uncaught error is. */
export interface Handlers {
  /** There is a job: a generation's, or that of anything else with `background: true`. */
  onAccepted?: (frame: Accepted) => void;
  onPartial?: (frame: PartialText) => void;
  /** A load goes on. */
  onProgress?: (frame: Progress) => void;
  /** A generation is still alive, also before there is any text. */
  onThinking?: (frame: ThinkingUpdate) => void;
  /**
   * Stops a generation, whose promise then gives what there is, with `finish_reason: "cancelled"`. One that was aborted
   * before the request rejects it. A load goes on, unless it has `background: true`, and then rejects with `cancelled`.
   */
  signal?: AbortSignal;
}

/** Each action with its fields and its result. */
export interface Actions {
  ping: { fields: Fields; result: Pong };
  load: { fields: LoadFields; result: Loaded };
  unload: { fields: UnloadFields; result: Unloaded };
  generate: { fields: GenerateFields; result: Generated };
  stop_generation: { fields: StopFields; result: Stopped };
  update_settings: { fields: UpdateSettingsFields; result: SettingsUpdated };
  get_stats: { fields: GetStatsFields; result: Stats };
  get_state: { fields: ModelFields; result: State };
  list_models: { fields: Fields; result: ModelList };
  list_backends: { fields: Fields; result: BackendList };
  get_system_info: { fields: Fields; result: SystemInfo };
  count_tokens: { fields: CountTokensFields; result: TokenCount };
  embed: { fields: EmbedFields; result: Embedded };
  list_jobs: { fields: Fields; result: JobList };
  attach: { fields: AttachFields; result: Generated };
  read_job: { fields: ReadJobFields; result: JobRead };
}

export type Action = keyof Actions;

/** What comes behind an action: its fields, which may be left out where none is required, and one thing more. */
export type Rest<A extends Action, More> = {} extends Actions[A]["fields"]
  ? [fields?: Actions[A]["fields"], more?: More]
  : [fields: Actions[A]["fields"], more?: More];

/* What is asked */

export interface Fields { background?: boolean }

export interface ModelFields extends Fields {
  /** A name of `list_models` or an absolute path; left out: the model whose load, or use, began last. */
  model?: string | null;
  /** Another spelling of `model`. */
  model_path?: string | null;
}

export interface LoadFields extends Fields {
  model: string; backend?: string; options?: LoadOptions; stream?: boolean | null;
}

export interface LoadOptions {
  context_length?: number | null; gpu_layers?: number | null; threads?: number | null; device?: string | null;
  parallel?: number | null; projector_path?: string | null; draft_model?: string | null; lora?: string | null;
  dtype?: "auto" | "fp32" | "fp16" | "q4" | "q4f16" | "int8" | "uint8" | "q8" | "quantized" | "bnb4" | null;
  fast_path?: boolean | null; keep_alive_s?: number | null; tokens_per_second?: number | null;
  prefill_ms?: number | null; pictures?: boolean | null;
}

export interface UnloadFields extends ModelFields { all?: boolean }

/** Exactly one of the two. */
export type Prompt =
  | { messages: readonly Message[]; prompt?: null }
  | { prompt: string; messages?: null };

export interface PromptOptions extends ModelFields {
  /** Variables for the model's chat template, such as `{ enable_thinking: false }`. */
  chat_template_kwargs?: object | null;
}

export interface GenerateOptions extends PromptOptions {
  settings?: Settings; stream?: boolean; response_format?: ResponseFormat | null;
  tools?: readonly Tool[] | null; tool_choice?: "auto" | "none" | "required" | NamedTool | null;
  parallel_tool_calls?: boolean; thinking_update_interval?: number | null; logprobs?: boolean;
  top_logprobs?: number;
}

export type GenerateFields = Prompt & GenerateOptions;
export type CountTokensFields = Prompt & PromptOptions;

/** What is left out stays as it was; null is "not set". */
export type Settings = { [K in keyof SettingsInForce]?: SettingsInForce[K] | null };

export interface Message {
  role: "system" | "user" | "assistant" | "tool"; content: string | readonly Part[];
  reasoning?: string | null; tool_calls?: readonly ToolCall[] | null; tool_call_id?: string | null;
  name?: string | null;
}

export type Part = TextPart | ImagePart | ImageUrlPart | AudioPart;

export interface TextPart { type: "text"; text: string }

export interface ImagePart {
  type: "image";
  /** A data URL, as `canvas.toDataURL()` gives it. */
  data: string;
}

export interface ImageUrlPart { type: "image_url"; image_url: ImageUrl }
export interface ImageUrl { url: string; detail?: "auto" | "low" | "high" | "original" | null }
export interface AudioPart { type: "audio"; data: string }
export interface Tool { type: "function"; function: ToolFunction }

export interface ToolFunction {
  name: string; description?: string | null;
  /** A JSON schema of type object. */
  parameters?: object | null;
  strict?: boolean | null;
}

export interface NamedTool {
  type: "function";
  function: { name: string };
}

export type ResponseFormat =
  | { type: "text" }
  | { type: "json_object" }
  | { type: "json_schema"; json_schema: object }
  | { type: "grammar"; grammar: string }
  | { type: "regex"; regex: string };

export interface StopFields extends ModelFields { job_id?: string | null }
export interface UpdateSettingsFields extends ModelFields { settings: Settings }
export interface GetStatsFields extends ModelFields { scope?: "last" | "aggregate" }
export interface EmbedFields extends ModelFields { input: string | readonly string[]; normalize?: boolean | null }
export interface AttachFields extends Fields { job_id: string; cursor?: number }

export interface ReadJobFields extends AttachFields {
  /** How long to wait for news, in milliseconds, 30,000 at most. */
  wait_ms?: number;
}

/* What comes before a result */

export interface Accepted { job_id: string }

export interface PartialText {
  job_id: string;
  /** Counts from 0; `attach` with `cursor: seq + 1` goes on behind it. */
  seq: number;
  /** The new text only. */
  text: string;
  tokens: number; reasoning?: string;
  tool_calls?: (ToolCall & { index: number })[];
  logprobs?: TokenLogprob[];
}

export interface Progress {
  phase: string; message: string;
  /** From 0 to 1, or null where it is not known. */
  progress: number | null;
  loaded_bytes: number | null; total_bytes: number | null; job_id: string | null;
}

export interface ThinkingUpdate {
  job_id: string; thinking: string; phase: string; tokens: number; tokens_per_second: number;
  elapsed_ms: number; eta_ms: number | null; memory_bytes: number | null;
}

export type HostEvent =
  | { event: "model_crashed"; model: string; message: string; signal: string | null; restarted: boolean }
  | { event: "model_unloaded"; model: string; reason: string }
  | { event: "daemon_stopping"; reason: string };

/* Results */

export interface Pong {
  response: string; version: string; protocol: number; pid: number; features: string[];
  http_url: string | null;
}

export interface Loaded { model: ModelState; message: string }
export interface Unloaded { unloaded: string[]; message: string }

export type FinishReason = "stop" | "length" | "tool_calls" | "cancelled";

export interface Generated {
  job_id: string; model: string; text: string; finish_reason: FinishReason; tool_calls: ToolCall[] | null;
  reasoning: string | null; logprobs: TokenLogprob[] | null; stats: Figures;
}

export interface ToolCall {
  id: string; type: "function";
  /** `arguments` is JSON text. */
  function: { name: string; arguments: string };
}

export interface TokenScore { token: string; logprob: number; bytes: number[] | null }
export interface TokenLogprob extends TokenScore { top: TokenScore[] }

/** Times are milliseconds; what is not known is null. */
export interface Figures {
  time_to_first_token: number | null; tokens_per_second: number | null; input_tokens: number | null;
  output_tokens: number | null; total_time: number | null; cached_tokens: number | null;
  reasoning_tokens: number | null; finish_reason: string | null; pictures: PictureFigures[] | null;
}

export interface PictureFigures { width: number; height: number; scaled_width: number; scaled_height: number }
export interface Stopped { message: string; stopped_jobs: string[]; stopped_backends: BackendType[] }
export interface SettingsUpdated { message: string; updated_backends: BackendType[]; settings: SettingsInForce }

export interface SettingsInForce {
  temperature: number; top_p: number; top_k: number; min_p: number; max_tokens: number;
  repeat_penalty: number; presence_penalty: number; frequency_penalty: number; seed: number | null;
  stop: readonly string[]; thinking_update_interval: number;
}

export interface Stats extends Figures {
  model: string | null; aggregate: Aggregate; by_backend: Record<string, Aggregate>;
}

export interface Aggregate {
  count: number; succeeded: number; failed: number; cancelled: number; input_tokens: number;
  output_tokens: number; cached_tokens: number; total_time: number; time_to_first_token: Percentiles;
  tokens_per_second: Percentiles;
}

export interface Percentiles { p50: number | null; p95: number | null; p99: number | null }
export interface State { models: ModelState[]; active: string | null }

export interface ModelState {
  model: string; model_path: string; backend: string; backend_type: BackendType | null;
  state: "loading" | "ready" | "busy" | "crashed"; loading: LoadProgress | null;
  context_length: number | null; size_bytes: number | null; resident_bytes: number | null; pid: number | null;
  capabilities: Capabilities; device: string | null; dtype: string | null; notes: string[];
  loaded_at: number | null; expires_at: number | null;
  performance: { current: Figures; aggregate: Aggregate };
}

export type LoadProgress = Omit<Progress, "job_id">;

export interface Capabilities {
  text: boolean; image: boolean; audio: boolean; tools: boolean; json_schema: boolean; embed: boolean;
  logprobs: boolean;
}

export interface ModelList { models: ModelListing[] }

export interface ModelListing {
  model: string; model_path: string; format: string; size_bytes: number; backend: string | null;
  fits_in_memory: boolean | null; needed_bytes: number | null; loaded: boolean; problem: string | null;
}

export interface BackendList { backends: BackendListing[] }

export interface BackendListing {
  backend: string; installed: boolean; usable: boolean; version: string | null; devices: string[];
  formats: string[]; capabilities: Capabilities; install: string | null; problem: string | null;
}

export interface SystemInfo {
  os: string; os_version: string; python_version: string; host_version: string;
  cpu: { model: string | null; architecture: string; cores: number | null; threads: number | null };
  memory: { total_bytes: number; available_bytes: number };
  accelerators: AcceleratorInfo[];
  disk: { path: string; total_bytes: number | null; free_bytes: number | null };
  problems: string[];
}

export interface AcceleratorInfo {
  kind: "gpu" | "npu"; name: string; vendor: string | null; memory_bytes: number | null;
  free_memory_bytes: number | null;
}

export interface TokenCount { tokens: number; context_length: number | null }
export interface Embedded { embeddings: number[][]; dimensions: number; input_tokens: number; truncated: number[] }
export interface JobList { jobs: JobListing[] }

export interface JobListing {
  job_id: string; action: string; state: JobState; model: string | null; tokens: number; created: number;
}

export type JobState = "queued" | "prefill" | "decode" | "finished" | "cancelled" | "failed";

/** What is new of a job, `cursor` for the next time, and, once it is over, what its result has. */
export interface JobRead {
  job_id: string; text: string; reasoning: string | null; cursor: number; state: JobState; tokens: number;
  /** Of a generation that is over. */
  model?: string | ModelState | null;
  finish_reason?: FinishReason | null; tool_calls?: ToolCall[] | null; logprobs?: TokenLogprob[] | null;
  stats?: Figures;
  /** Of a job that failed. */
  error?: ErrorBody | null;
  message?: string | null;
  /** Of an action in the background, as in `Progress`. */
  phase?: string | null;
  progress?: number | null; loaded_bytes?: number | null; total_bytes?: number | null;
}

export type BackendType =
  | "LLAMA_CPP_CPU" | "LLAMA_CPP_CUDA" | "LLAMA_CPP_VULKAN" | "LLAMA_CPP_ROCM" | "LLAMA_CPP_METAL"
  | "BITNET_CPU" | "BITNET_GPU"
  | "ONNX_CPU" | "ONNX_CUDA" | "ONNX_DIRECTML" | "ONNX_NPU" | "ONNX_COREML" | "ONNX_OPENVINO" | "ONNX_ROCM"
  | "ONNX_WEBGPU" | "ONNX_PLUGIN"
  | "MEDIAPIPE_CPU" | "MEDIAPIPE_GPU" | "MEDIAPIPE_NPU"
  | "MLX_METAL" | "MLX_CPU" | "MLX_CUDA"
  | "REMOTE" | "ECHO";

/* Errors */

export type ErrorCode = HostErrorCode | ClientErrorCode;

export type HostErrorCode =
  | "invalid_json" | "frame_too_large" | "invalid_request" | "unknown_action" | "unsupported_option"
  | "model_not_found" | "model_not_loaded" | "no_active_backend" | "model_invalid" | "unknown_format"
  | "engine_missing" | "engine_broken" | "out_of_memory" | "context_overflow" | "busy" | "job_not_found"
  | "cancelled" | "backend_crashed" | "timeout" | "download_failed" | "checksum_mismatch" | "origin_forbidden"
  | "daemon_unavailable" | "internal";

/** What this module says of the way to the host. */
export type ClientErrorCode =
  | "host_not_found" | "host_forbidden" | "host_exited" | "host_unreachable" | "closed" | "message_refused"
  | "reply_too_large";

/** What an error adds, by its code (PROTOCOL.md, section 3). */
export interface ErrorDetails {
  fields?: string[]; action?: string; known_actions?: string[]; model_path?: string; model?: string;
  backend?: string;
  /** The command that installs what is missing. */
  install?: string;
  needed_bytes?: number; free_bytes?: number; prompt_tokens?: number; context_length?: number;
  most_prompt_tokens?: number; retry_after_ms?: number; job_id?: string; signal?: string; exit_code?: number;
  last_output?: string; origin?: string; log?: string;
  /** The keys of the host's configuration that ask for what cannot be had. */
  config_keys?: string[];
}

export interface ErrorBody { code: HostErrorCode; details: ErrorDetails }

export interface ErrorReply {
  message: string; error: ErrorBody; job_id?: string; model?: string; text?: string;
  reasoning?: string | null; stats?: Figures;
}
