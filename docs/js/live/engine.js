/* The page's side of the worker: one engine per page, loaded when somebody asks for it. */

const GENERATED = new URL("../../data/generated/", import.meta.url);
const FILES = new URL("../../pyodide/files.json", import.meta.url);

const json = async (address) => (await fetch(address)).json();

/** What the builder wrote for the live pages: pictures, kept logits, suggested edits. */
export const facts = () => (facts.kept ??= json(new URL("live.json", GENERATED)));

/** The files of the reference, by path. */
export const sources = () => (sources.kept ??= json(new URL("reference.json", GENERATED)));

/** The record of the bug lab. */
export const record = () => (record.kept ??= json(new URL("bug-lab.json", GENERATED)));

/** Bytes to load for Python and NumPy; 0 if this site was built without them. */
export async function size() {
  const sizes = Object.values(await (size.kept ??= json(FILES)));
  return sizes.reduce((sum, bytes) => sum + bytes, 0);
}

/** An error in Python, with the file and line of the reference, if it happened there. */
export class PythonError extends Error {
  constructor({ message, file, line }) {
    super(message);
    Object.assign(this, { file, line });
  }
}

export class Engine extends EventTarget {
  /** Start the worker, and load everything into it; events `progress` tell how far that is. */
  async load() {
    const [texts, { normalisation }] = await Promise.all([sources(), facts()]);
    this.loaded = 0;
    this.calls = new Map();
    this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => this.receive(data);
    this.worker.onerror = ({ message }) => this.stop(message || "the worker could not start");
    const result = await this.call("load", { sources: texts, normalisation });
    this.ready = true;
    return result;
  }

  /** Call a function of Python. Rejects with a PythonError, or with an Error if the engine is stopped meanwhile. */
  call(name, ...args) {
    const id = crypto.getRandomValues(new Uint32Array(1))[0];
    this.worker.postMessage({ id, call: name, args });
    return new Promise((resolve, reject) => this.calls.set(id, { resolve, reject }));
  }

  /** End everything at once, also an endless loop in edited code. */
  stop(reason = "stopped") {
    this.worker?.terminate();
    this.worker = null;
    this.ready = false;
    for (const { reject } of this.calls?.values() ?? []) reject(new Error(reason));
    this.calls?.clear();
  }

  receive({ id, result, error, stage, loaded, recorded, count }) {
    if (id !== undefined) {
      const { resolve, reject } = this.calls.get(id);
      this.calls.delete(id);
      if (error) reject(new PythonError(error));
      else resolve(result);
      return;
    }
    if (loaded) this.loaded += loaded;
    this.dispatchEvent(new CustomEvent("progress", { detail: { stage, loaded: this.loaded, recorded, count } }));
  }
}
