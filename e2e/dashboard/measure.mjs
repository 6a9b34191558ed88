// What the dashboard costs: `node measure.mjs ROUNDS`, started by scripts/bench-dashboard. HUB is the URL of a new hub,
// TOKEN an admin's token. Prints a table; fails if a limit is passed.
import { connect, createServer } from "node:net";
import { performance } from "node:perf_hooks";
import { launch } from "./browser.mjs";
import { Hub } from "./hub.mjs";
import { row, signIn } from "./pages.mjs";
import { hosts } from "./samples.mjs";

const rounds = Number(process.argv[2]);
const LIMITS = { kilobytes: 60, requests: 12, paint_ms: 300, server_ms: 100 };
// How long a page may still ask for something after it has loaded, in milliseconds.
const QUIET = 1500;

const hub = new Hub(process.env.HUB, process.env.TOKEN);
const { hostname, port } = new URL(hub.url);

// Counts what passes between browser and hub: everything, also what a worker asks for.
const count = { bytes: 0, requests: 0, what: [] };
const relay = createServer((near) => {
  const far = connect(Number(port), hostname);
  near.on("data", (chunk) => {
    // Browsers do not send a request before the answer to the last one on the same connection.
    const line = /^([A-Z]+ \S+) HTTP\/1\.1\r\n/.exec(chunk.toString("latin1"));
    if (line) {
      count.requests += 1;
      count.what.push(line[1]);
    }
    far.write(chunk);
  });
  far.on("data", (chunk) => {
    count.bytes += chunk.length;
    near.write(chunk);
  });
  for (const [one, other] of [[near, far], [far, near]]) one.on("close", () => other.destroy()).on("error", () => {});
});
await new Promise((resolve) => relay.listen(0, "127.0.0.1", resolve));
const counted = `http://127.0.0.1:${relay.address().port}`;

const median = (numbers) => {
  const sorted = [...numbers].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
};
const spread = (numbers, digits) => {
  const text = (number) => number.toFixed(digits);
  return `${text(median(numbers))} (${text(Math.min(...numbers))}–${text(Math.max(...numbers))})`;
};

for (let at = 0; at < 20; at += 1) await hub.silo(`silo-${at}`, hosts(10 + at));
await hub.silo("large", hosts(10_000));
const { revision } = await hub.done("GET", "/silos/silo-0");
// A token has so many agents at most.
const AGENTS_OF_TOKEN = 16;
for (let at = 0; at < 10_000; at += AGENTS_OF_TOKEN) {
  const { secret: token } = await hub.newToken({ name: `agents from ${at}`, role: "read", silos: ["silo-0"] });
  const names = Array.from({ length: AGENTS_OF_TOKEN }, (_, index) => `agent-${at + index}`);
  await Promise.all(names.map((name) => hub.agent("silo-0", name, { applied: revision, token })));
}
const browser = await launch();

// A page as a browser loads it that has nothing of the hub in its cache.
async function load(origin, cookies, path, look) {
  const context = await browser.newContext();
  await context.addCookies(cookies.map((cookie) => ({ ...cookie, domain: "127.0.0.1" })));
  const page = await context.newPage();
  const result = await look(page, () => page.goto(origin + path, { waitUntil: "load" }));
  await context.close();
  return result;
}

async function session(origin) {
  const context = await browser.newContext({ baseURL: origin });
  await signIn(await context.newPage(), hub.token);
  const cookies = await context.cookies();
  await context.close();
  return cookies;
}

const cookies = { [counted]: await session(counted), [hub.url]: await session(hub.url) };
const lines = [];
const passed = [];
const limit = (value, most, what) => {
  if (value > most) passed.push(`${what}: ${value} is more than ${most}`);
  return most;
};
for (const [name, path, isIn] of [
  ["sign-in page", "/dashboard/sign-in", false],
  ["start page, 21 silos", "/dashboard/", true],
  ["silo of 10 000 records", "/dashboard/silos/large", true],
  ["10 000 agents", "/dashboard/agents", true],
]) {
  const own = (origin) => (isIn ? cookies[origin] : []);
  const weight = await load(counted, own(counted), path, async (page, go) => {
    Object.assign(count, { bytes: 0, requests: 0, what: [] });
    await go();
    await page.waitForTimeout(QUIET);
    return { ...count };
  });
  const paints = [];
  for (let round = 0; round < rounds; round += 1) {
    paints.push(
      await load(hub.url, own(hub.url), path, async (page, go) => {
        await go();
        await page.waitForFunction(() => performance.getEntriesByName("first-contentful-paint").length);
        return page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime);
      }),
    );
  }
  const cookie = own(hub.url).map((each) => `${each.name}=${each.value}`).join("; ");
  const times = [];
  for (let round = 0; round < rounds * 5; round += 1) {
    const began = performance.now();
    const answer = await fetch(hub.url + path, { headers: { cookie, accept: "text/html" }, redirect: "manual" });
    await answer.text();
    if (answer.status !== 200) throw new Error(`${path} answers ${answer.status}`);
    times.push(performance.now() - began);
  }
  limit(weight.bytes / 1000, LIMITS.kilobytes, `${name}, kB`);
  limit(weight.requests, LIMITS.requests, `${name}, requests`);
  limit(median(paints), LIMITS.paint_ms, `${name}, first contentful paint`);
  limit(median(times), LIMITS.server_ms, `${name}, server`);
  lines.push(`| ${name} | ${(weight.bytes / 1000).toFixed(1)} | ${weight.requests} | ${spread(paints, 0)} | ${spread(times, 1)} |`);
  console.error(`${name}: ${weight.what.join(", ")}`);
}
console.log("| page, first load | kB over the wire | requests | first contentful paint, ms | answer of the hub, ms |");
console.log("|---|---|---|---|---|");
console.log(lines.join("\n"));
console.log(`| **limit** | **${LIMITS.kilobytes}** | **${LIMITS.requests}** | **${LIMITS.paint_ms}** | **${LIMITS.server_ms}** |`);
await browser.close();
relay.close();
if (passed.length) {
  console.error(passed.join("\n"));
  process.exitCode = 1;
}
process.stdout.write("", () => process.exit());
