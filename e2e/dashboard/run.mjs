// Runs one scenario on each of its stages: `node run.mjs NAME`, started by e2e/tests/e2e/dashboard.rs.
//
// SILO_STAGES is a list of {url, origin, token}: the hub, the address by which the browser calls it, and an admin's
// token. The scenario may ask the test for what a browser can't do, such as to restart the hub: a line of JSON on
// standard output, answered by a line on standard input. The last line says what was done.
import { mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { launch } from "./browser.mjs";
import { Stage } from "./stage.mjs";

const name = process.argv[2];
const { default: scenario } = await import(`./scenarios/${name}.mjs`);
const stages = JSON.parse(process.env.SILO_STAGES);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

async function ask(question) {
  say(question);
  const { value, done } = await lines.next();
  if (done) throw new Error("the test has ended");
  const answer = JSON.parse(value);
  if (answer.error) throw new Error(`${JSON.stringify(question)}: ${answer.error}`);
  return answer;
}

// What every page looked like when the scenario failed.
async function keepPictures(stage) {
  const folder = process.env.SILO_PICTURES;
  mkdirSync(folder, { recursive: true });
  const kept = [];
  for (const [number, page] of stage.pages().entries()) {
    const path = join(folder, `${name}-${basename(stage.origin).replace(":", "-")}-${number}.png`);
    try {
      await page.screenshot({ path, fullPage: true, timeout: 5000 });
      kept.push(`  ${page.url()}: ${path}`);
    } catch (error) {
      kept.push(`  ${page.url()}: no picture (${error.message.split("\n")[0]})`);
    }
  }
  return kept.join("\n");
}

const browser = await launch();
const done = [];
let failure = null;
for (const [index, settings] of stages.entries()) {
  const stage = new Stage(browser, settings, (what, values) => ask({ ask: what, stage: index, ...values }));
  try {
    await scenario(stage);
    await stage.end();
    done.push(stage.summary());
  } catch (error) {
    failure = `${name} on ${stage.origin}: ${stage.step()}\n${error.stack ?? error}\nWhat the pages looked like:\n${await keepPictures(stage)}`;
    break;
  }
}
await browser.close();
if (failure) {
  process.stderr.write(`${failure}\n`);
  process.exitCode = 1;
} else {
  say({ done });
}
process.stdin.destroy();
