/* Python in a worker, so that the page never freezes. Messages: {id, call, args} in; {id, result | error}, or
 * {stage | loaded | recorded} for progress, out. All addresses are relative to this file. */

const PYODIDE = new URL("../../pyodide/", import.meta.url);
const DATA = new URL("../../data/generated/", import.meta.url);
const CODE = new URL("../../live/", import.meta.url);

let python; // the driver's functions, once loaded
const stage = (words) => postMessage({ stage: words });

/** Count the bytes of every response, so that the page can show how much has come. */
const plain = self.fetch.bind(self);
self.fetch = async (...request) => {
  const response = await plain(...request);
  if (!response.ok) throw new Error(`${response.status} for ${response.url}`);
  const counter = new TransformStream({
    transform(chunk, controller) {
      postMessage({ loaded: chunk.byteLength });
      controller.enqueue(chunk);
    },
  });
  return new Response(response.body.pipeThrough(counter), { headers: response.headers });
};

const text = async (name, folder = CODE) => (await fetch(new URL(name, folder))).text();
const bytes = async (name) => new Uint8Array(await (await fetch(new URL(name, DATA))).arrayBuffer());

async function load({ sources, normalisation }) {
  stage("Loading Python");
  const { loadPyodide } = await import(new URL("pyodide.mjs", PYODIDE));
  const pyodide = await loadPyodide({ indexURL: PYODIDE.href });
  stage("Loading NumPy");
  await pyodide.loadPackage("numpy", { messageCallback: () => {} });
  stage("Loading the weights and PyTorch's figures");
  const [driver, lab, weights, kept] = await Promise.all([
    text("driver.py"), text("lab.py"), bytes("weights.safetensors"), bytes("kept.safetensors"),
  ]);
  stage("Importing the reference");
  pyodide.FS.writeFile("/home/pyodide/driver.py", driver);
  pyodide.FS.writeFile("/home/pyodide/lab.py", lab);
  const given = pyodide.toPy({ sources, normalisation, weights, kept });
  pyodide.globals.set("given", given);
  python = pyodide.runPython(BRIDGE);
  return { version: pyodide.version };
}

/** The functions that the page can call: JSON in, JSON out, and errors with their line. */
const BRIDGE = `
import json, driver, lab

live = driver.Live(given["sources"], bytes(given["weights"]), bytes(given["kept"]), given["normalisation"])
buggy = {}

def bug(changes):
    key = json.dumps(changes)
    if key not in buggy:
        buggy[key] = driver.load_reference(driver.edited(live.texts, changes))
    return buggy[key]

calls = {
    "run": lambda report, pixels, image, texts: live.run(pixels, image, report, texts),
    "attention": lambda report, *place: live.attention(*place),
    "bug": lambda report, changes, *case: lab.compare(live.original, bug(changes), *case),
}

def answer(call, args, report):
    try:
        return json.dumps({"result": calls[call](report, *json.loads(args))})
    except Exception as error:
        return json.dumps({"error": driver.explain(error)})

answer
`;

onmessage = async ({ data: { id, call, args } }) => {
  try {
    if (call === "load") return postMessage({ id, result: await load(...args) });
    const report = (name, count) => postMessage({ recorded: name, count });
    postMessage({ id, ...JSON.parse(python(call, JSON.stringify(args), report)) });
  } catch (error) {
    postMessage({ id, error: { message: String(error.message ?? error), file: null, line: null } });
  }
};
