/**
 * The guest of the Pyodide backend: guest.py in WebAssembly, in a Node process that its permission flags lock down.
 * Arguments: role, folder of the pyodide package, JSON with the limits. Lines come by standard input and go to standard output, both
 * blocking: nothing here needs an event loop, and code that a program leaves in one never runs.
 *
 * `reset` puts the interpreter's memory back to what it was before the first program, so that programs do not meet.
 */
import dgram from "node:dgram";
import dns from "node:dns";
import fs from "node:fs";
import inspector from "node:inspector";
import net from "node:net";
import { pathToFileURL } from "node:url";

const [role, pyodideFolder, limitsText] = process.argv.slice(2);
const limits = JSON.parse(limitsText);
/** What an empty file takes, about. */
const NAME_BYTES = 1000;

/** Every way of Node to a socket goes through these; a program that gets hold of JavaScript objects finds them refusing. */
function closeNetwork() {
  const refuse = () => {
    throw new Error("the network is closed in the sandbox");
  };
  const fixed = { value: refuse, writable: false, configurable: false };
  const close = (target, names) => {
    for (const name of names) if (name in target) Object.defineProperty(target, name, fixed);
  };
  close(net.Socket.prototype, ["connect"]);
  close(net.Server.prototype, ["listen"]);
  close(net, ["connect", "createConnection", "createServer"]);
  close(dgram.Socket.prototype, ["bind", "connect", "send"]);
  close(dgram, ["createSocket"]);
  close(inspector, ["open"]);
  const lookups = Object.keys(dns).filter((name) => /^(lookup|resolve|reverse)/u.test(name));
  close(dns, lookups);
  close(dns.promises, lookups);
  for (const resolver of [dns.Resolver.prototype, dns.promises.Resolver.prototype]) close(resolver, lookups);
}

/** Takes from the global object what programs have no use for and what starts code later. */
function emptyGlobals() {
  const names = ["fetch", "WebSocket", "EventSource", "XMLHttpRequest", "Request", "Response", "MessageChannel"];
  const later = ["setTimeout", "setInterval", "setImmediate", "queueMicrotask", "process", "require"];
  for (const name of [...names, ...later]) Reflect.deleteProperty(globalThis, name);
}

/**
 * Files of programs live in JavaScript's memory, which the limit of WebAssembly's does not count and which is not put back. So
 * their bytes are counted here, and a program that changes a file leaves a process that cannot be used again. Pipes, which nothing bounds, there are none.
 */
class Files {
  #fs;
  #folder;
  #streams;
  #isChanged = false;
  #numBytes = 0;

  constructor(pyodide) {
    this.#fs = pyodide.FS;
    const { MEMFS } = this.#fs.filesystems;
    const { ENOSPC, EMFILE } = pyodide.ERRNO_CODES;
    const grow = (node, size) => {
      this.#isChanged = true;
      this.#numBytes += Math.max(0, size - (node.contents?.length ?? 0));
      if (this.#numBytes > limits.fileBytes) throw new pyodide.FS.ErrnoError(ENOSPC);
    };
    const { dir, file } = MEMFS.ops_table;
    before(file.stream, "write", (stream, _buffer, _offset, length, position) => {
      grow(stream.node, position + length);
    });
    before(MEMFS, "resizeFileStorage", grow);
    for (const name of ["mknod", "rename", "unlink", "rmdir", "symlink", "setattr"]) {
      before(dir.node, name, () => {
        this.#isChanged = true;
        // Names take memory too.
        this.#numBytes += NAME_BYTES;
        if (this.#numBytes > limits.fileBytes) throw new pyodide.FS.ErrnoError(ENOSPC);
      });
    }
    pyodide._module.PIPEFS.createPipe = () => {
      throw new pyodide.FS.ErrnoError(EMFILE);
    };
    this.#folder = this.#fs.cwd();
    this.#streams = [...this.#fs.streams];
  }

  /** Closes what the program left open. Returns false when files are not what they were. */
  reset() {
    if (this.#isChanged || this.#streams.some((stream, fd) => this.#fs.streams[fd] !== stream)) return false;
    for (let fd = this.#streams.length; fd < this.#fs.streams.length; fd++) {
      if (this.#fs.streams[fd]) this.#fs.closeStream(fd);
    }
    this.#fs.chdir(this.#folder);
    return true;
  }
}

/** Calls something else first, which may throw. */
function before(target, name, first) {
  const original = target[name];
  target[name] = (...args) => {
    first(...args);
    return original(...args);
  };
}

const buffer = Buffer.alloc(1 << 16);
let pending = Buffer.alloc(0);

/** The next line of standard input without its end; undefined when the parent has closed it. */
function readLine() {
  for (;;) {
    const end = pending.indexOf(10);
    if (end >= 0) {
      const line = pending.toString("latin1", 0, end);
      pending = pending.subarray(end + 1);
      return line;
    }
    const numBytes = fs.readSync(0, buffer);
    if (numBytes === 0) return undefined;
    pending = Buffer.concat([pending, buffer.subarray(0, numBytes)]);
  }
}

function writeAll(fd, bytes) {
  for (let start = 0; start < bytes.length; ) start += fs.writeSync(fd, bytes, start);
}

const send = (line) => {
  writeAll(1, Buffer.from(`${line}\n`, "latin1"));
};

async function openInterpreter() {
  // Pyodide asks for the system's constants in a way that the permission flags forbid.
  process.binding = (name) => {
    if (name === "constants") return { fs: fs.constants };
    throw new Error(`${name} is not to be had in the sandbox`);
  };
  // Node's own streams would make standard input one that cannot be waited for.
  for (const [fd, name] of ["stdin", "stdout", "stderr"].entries()) {
    Object.defineProperty(process, name, { value: { fd, isTTY: false } });
  }
  const { loadPyodide } = await import(pathToFileURL(`${pyodideFolder}/pyodide.mjs`).href);
  // `import js` finds an empty object.
  const pyodide = await loadPyodide({ indexURL: pyodideFolder, jsglobals: Object.create(null) });
  const print = {
    write: (bytes) => {
      writeAll(2, bytes);
      return bytes.length;
    },
  };
  pyodide.setStdin({ stdin: () => undefined });
  pyodide.setStdout(print);
  pyodide.setStderr(print);
  return pyodide;
}

/** The function of guest.py that answers a line, all strings: no object of the one language is in the hands of the other. */
function makeHandler(pyodide) {
  const source = fs.readFileSync(new URL("guest.py", import.meta.url), "utf8");
  const ask = (line) => {
    send(line);
    return readLine() ?? 'answer {"gone": true}';
  };
  const names = pyodide.toPy({ __name__: "guest" });
  pyodide.runPython(source, { globals: names });
  // Only the checker, which runs no untrusted text, has a function of JavaScript.
  if (role === "checker") names.set("ask", ask);
  pyodide.runPython(role === "checker" ? "handle = Checker(ask).handle" : "handle = Candidate().handle", { globals: names });
  pyodide.runPython("import sys\nfor name in ('js', 'pyodide_js'): sys.modules.pop(name, None)");
  for (const module of ["js", "pyodide_js"]) pyodide.unregisterJsModule(module);
  return names.get("handle");
}

async function main() {
  // Not by returning: what a program has left to Node's event loop would have its turn then.
  const exit = process.exit.bind(process);
  closeNetwork();
  const pyodide = await openInterpreter();
  const handle = makeHandler(pyodide);
  const files = new Files(pyodide);
  emptyGlobals();
  const memory = () => pyodide._module.HEAPU8;
  const fresh = memory().slice();
  send("ready");
  for (let line = readLine(); line !== undefined; line = readLine()) {
    if (line === "reset") {
      if (!files.reset()) break;
      memory().set(fresh);
      memory().fill(0, fresh.length);
      send("ready");
    } else {
      send(handle(line));
    }
  }
  exit(0);
}

await main();
