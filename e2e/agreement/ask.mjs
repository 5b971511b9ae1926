// Asks yaml-language-server what it finds in files: `node ask.mjs SERVER SCHEMA FILE…` prints {file: [finding]} as JSON.
//
// Speaks the language server protocol over the server's standard streams, as editors do, with the schema for every file.
import { spawn } from 'node:child_process';
const [server, schema, ...files] = process.argv.slice(2);
import fs from 'node:fs'; import path from 'node:path'; import url from 'node:url';
const child = spawn(process.execPath, [server, '--stdio'], { stdio: ['pipe', 'pipe', 'inherit'] });
let buffer = Buffer.alloc(0); const pending = new Map(); let id = 0;
function send(m) { const b = Buffer.from(JSON.stringify({ jsonrpc: '2.0', ...m })); child.stdin.write(`Content-Length: ${b.length}\r\n\r\n`); child.stdin.write(b); }
function request(method, params) { return new Promise(r => { pending.set(++id, r); send({ id, method, params }); }); }
const settings = { yaml: { validate: true, format: { enable: false }, schemas: { [url.pathToFileURL(path.resolve(schema)).href]: ['*.yaml'] }, schemaStore: { enable: false }, yamlVersion: '1.2', disableDefaultProperties: true }, http: {} };
const found = new Map(); const waiting = new Map();
child.stdout.on('data', d => { buffer = Buffer.concat([buffer, d]); for (;;) { const head = buffer.indexOf('\r\n\r\n'); if (head < 0) return; const len = Number(/Content-Length: (\d+)/i.exec(buffer.slice(0, head).toString())[1]); if (buffer.length < head + 4 + len) return; const m = JSON.parse(buffer.slice(head + 4, head + 4 + len)); buffer = buffer.slice(head + 4 + len); handle(m); } });
function handle(m) {
  if (m.method === 'workspace/configuration') return send({ id: m.id, result: m.params.items.map(i => i.section ? i.section.split('.').reduce((s, k) => s?.[k], settings) ?? null : settings) });
  if (m.method && m.id !== undefined) return send({ id: m.id, result: null });
  if (m.method === 'textDocument/publishDiagnostics') { found.set(m.params.uri, m.params.diagnostics); waiting.get(m.params.uri)?.(); return; }
  if (m.id !== undefined && pending.has(m.id)) pending.get(m.id)(m.result);
}
await request('initialize', { processId: process.pid, rootUri: null, capabilities: { workspace: { configuration: true }, textDocument: { publishDiagnostics: {} } } });
send({ method: 'initialized', params: {} });
send({ method: 'workspace/didChangeConfiguration', params: { settings } });
// Until the server has read its settings and the schema it finds nothing anywhere: a document that is wrong says when.
const published = uri => new Promise(r => waiting.set(uri, r));
const probe = url.pathToFileURL(path.resolve('probe.yaml')).href;
let first = published(probe);
send({ method: 'textDocument/didOpen', params: { textDocument: { uri: probe, languageId: 'yaml', version: 1, text: 'kind: Nonsense\n' } } });
for (let tries = 2; ; tries++) {
  await first;
  if (found.get(probe).length > 0) break;
  if (tries > 200) { console.error('the server does not use the schema'); process.exit(1); }
  first = published(probe);
  send({ method: 'textDocument/didChange', params: { textDocument: { uri: probe, version: tries }, contentChanges: [{ text: `kind: Nonsense${tries}\n` }] } });
}
const out = {};
for (const file of files) {
  const uri = url.pathToFileURL(path.resolve(file)).href;
  const done = published(uri);
  send({ method: 'textDocument/didOpen', params: { textDocument: { uri, languageId: 'yaml', version: 1, text: fs.readFileSync(file, 'utf8') } } });
  await done; out[file] = (found.get(uri)).map(d => `${d.range.start.line+1}: ${d.message}`);
}
console.log(JSON.stringify(out, null, 1)); child.kill(); process.exit(0);
