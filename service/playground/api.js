// What is asked of the gateway this page came from. Paths are relative, so that a proxy may serve it below another path.

const KEY = "vitrine.key";
const AT_ONCE = 4;

export class Problem extends Error {
  constructor({ status = 0, title, detail, code = "", request_id = "" }) {
    super(detail);
    Object.assign(this, { status, title, detail, code, requestId: request_id });
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

export const address = (path) => new URL(path, document.baseURI).href;

export const classifyPath = (model) => `v1/models/${encodeURIComponent(model)}/classify?top_k=5`;

export const models = async () => (await ask("v1/models")).body.models;

export const classify = (file, model) => inTurn(() => ask(classifyPath(model), file));

export function explain(file, model, { method, layer, head, fusion }) {
  const query = new URLSearchParams(Object.entries({ method, layer, head, fusion }).filter(([, value]) => value));
  return inTurn(() => ask(`v1/models/${encodeURIComponent(model)}/explain?${query}`, file));
}

async function ask(path, file) {
  const headers = { Accept: "application/json" };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  const how = file ? { method: "POST", body: file, headers } : { headers };
  let answer, body;
  try {
    answer = await fetch(address(path), how);
    body = await answer.json();
  } catch {
    throw new Problem(
      answer
        ? { status: answer.status, title: `The answer ${answer.status} cannot be read`, detail: "Something between this page and the gateway may have made it." }
        : { title: "There is no answer", detail: "The gateway cannot be reached, or the file cannot be read." },
    );
  }
  if (!answer.ok) throw new Problem({ title: `The answer is ${answer.status}`, detail: "", ...body });
  return { body, times: times(answer.headers.get("Server-Timing")) };
}

// W3C Server Timing: "decode;dur=1.1, triton;dur=9".
function times(header) {
  const found = (header ?? "").split(",").map((metric) => metric.trim().match(/^([\w-]+);dur=([\d.]+)$/));
  return new Map(found.filter(Boolean).map(([, name, milliseconds]) => [name, Number(milliseconds)]));
}

// A hundred pictures are not a hundred requests at once.
const waiting = [];
let running = 0;

async function inTurn(work) {
  if (running >= AT_ONCE) await new Promise((resolve) => waiting.push(resolve));
  else running += 1;
  try {
    return await work();
  } finally {
    const next = waiting.shift();
    if (next) next();
    else running -= 1;
  }
}
