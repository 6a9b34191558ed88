// Pictures of every page in light and dark, 390 and 1440 px wide: `node pictures.mjs FOLDER`, started by
// scripts/dashboard-screenshots. HUB is the URL of a new hub, TOKEN an admin's token.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { launch } from "./browser.mjs";
import { crawl } from "./crawl.mjs";
import { Hub } from "./hub.mjs";
import { addRecord, button, edit, openSilo, signIn, unfold } from "./pages.mjs";
import { LONGEST, prepare, prepareMore } from "./samples.mjs";

const folder = process.argv[2];
mkdirSync(folder, { recursive: true });
const hub = new Hub(process.env.HUB, process.env.TOKEN);
const browser = await launch();
const context = await browser.newContext({ baseURL: hub.url, reducedMotion: "reduce" });
const page = await context.newPage();

const tooWide = [];
async function take(name) {
  for (const width of [390, 1440]) {
    await page.setViewportSize({ width, height: 900 });
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      const path = join(folder, `${name}-${colorScheme}-${width}.png`);
      // The height of a picture is limited.
      const height = await page.evaluate(() => document.documentElement.scrollHeight);
      await page.screenshot({ path, fullPage: height < 6000, animations: "disabled" });
      console.log(path);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      if (wide > width) tooWide.push(`${path}: the page is ${wide} px wide`);
    }
  }
}

const nameOf = (kind) => kind.replace("/dashboard/", "").replace(/[?&]/g, ".").replace(/\.$/, "").replaceAll("/", "-").replaceAll("*", "one") || "silos";

await page.goto("/dashboard/sign-in");
await take("sign-in");
await page.getByLabel("Token", { exact: true }).fill("nonsense");
await page.getByRole("button", { name: "Sign in" }).click();
await take("sign-in-refused");
await page.goto("/dashboard/link");
await take("link");
await signIn(page, hub.token);
await take("first-start");
await prepare(hub);
await prepareMore(hub);
const seen = await crawl(page, (kind) => take(nameOf(kind)));
for (const [name, path] of [
  ["silo-0", "/dashboard/silos/zero"],
  ["silo-3", "/dashboard/silos/three"],
  ["silo-200", "/dashboard/silos/warehouse"],
  ["silo-10000", "/dashboard/silos/ten-thousand"],
  ["silo-longest", "/dashboard/silos/with-long-names"],
  ["silo-longest-id", `/dashboard/silos/${"s".repeat(63)}`],
  ["record-longest", `/dashboard/silos/with-long-names/${LONGEST}`],
  ["record-changing", "/dashboard/silos/office/nas"],
  ["found", "/dashboard/?q=db"],
  ["found-longest", "/dashboard/?q=aaaaaaaa"],
  ["found-nothing", "/dashboard/?q=nothing-like-this"],
  ["history-longest", "/dashboard/silos/with-long-names/history"],
  ["audit-refused", "/dashboard/audit?part=refused"],
  ["agents-none", "/dashboard/agents?name=nothing-like-this"],
  ["silo-found-nothing", "/dashboard/silos/warehouse?q=nothing-like-this"],
  ["not-found", "/dashboard/nothing-here"],
]) {
  await page.goto(path);
  await take(name);
}
await openSilo(page, "three");
await unfold(page, "Add a record");
await take("adding");
await addRecord(page, { hostname: "not a name", ip4: "10.0.0.256", comment: "typed before" });
await page.locator("[aria-invalid=true]").first().waitFor();
await take("adding-refused");
await openSilo(page, "three");
await edit(page, "nas");
await take("editing");
await openSilo(page, "three");
await page.pdf({ path: join(folder, "silo-3.pdf"), format: "A4" });
await page.emulateMedia({ media: "print" });
await take("print");
await page.emulateMedia({ media: "screen" });
await unfold(page, "Signed in as");
await take("menu");

// What is shown before a silo is reverted: the link of a change that is not the last one.
await page.goto("/dashboard/silos/office/history");
await page.getByRole("row").nth(4).getByRole("link", { name: /^Revert to this/ }).click();
await page.getByRole("heading", { name: "Revert office?" }).waitFor();
await take("revert");
// What is shown once.
await page.goto("/dashboard/tokens/new");
await page.getByLabel("Name", { exact: true }).fill("television");
await page.getByLabel("Silos", { exact: true }).fill("office");
await button(page, "Make the token").click();
await page.getByRole("heading", { name: "television is made" }).waitFor();
await take("token-made");
for (const kind of ["downstream", "upstream"]) {
  await page.goto("/dashboard/silos/office/add-machine");
  await page.locator(`input[value=${kind}]`).check();
  await page.getByLabel("Machine", { exact: true }).fill("television");
  await button(page, "Make the invitation").click();
  await page.getByRole("heading", { name: /paste one command there/ }).waitFor();
  await take(`machine-${kind}`);
}
await page.goto("/dashboard/silos/office/add-machine");
await button(page, "Make the invitation").click();
await page.locator("[aria-invalid=true]").first().waitFor();
await take("machine-refused");

// Who may only read.
const reader = await hub.newToken({ name: "reader", role: "read", silos: ["office", "zero"] });
await context.clearCookies();
await signIn(page, reader.secret);
for (const [name, path] of [
  ["reader-silos", "/dashboard/"],
  ["reader-silo", "/dashboard/silos/office"],
  ["reader-silo-0", "/dashboard/silos/zero"],
  ["reader-record", "/dashboard/silos/office/nas"],
  ["reader-history", "/dashboard/silos/office/history"],
  ["reader-tokens", "/dashboard/tokens"],
  ["reader-refused", "/dashboard/system"],
]) {
  await page.goto(path);
  await take(name);
}
console.log([...seen.keys()].join("\n"));
await browser.close();
if (tooWide.length) {
  console.error(tooWide.join("\n"));
  process.exitCode = 1;
}
