// Pictures of every page in light and dark, 390 and 1440 px wide: `node pictures.mjs FOLDER`, started by
// scripts/dashboard-screenshots. HUB is the URL of a new hub, TOKEN an admin's token.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { launch } from "./browser.mjs";
import { crawl } from "./crawl.mjs";
import { Hub } from "./hub.mjs";
import { addRecord, edit, openSilo, signIn, unfold } from "./pages.mjs";
import { LONGEST, prepare, prepareMore } from "./samples.mjs";

const folder = process.argv[2];
mkdirSync(folder, { recursive: true });
const hub = new Hub(process.env.HUB, process.env.TOKEN);
const browser = await launch();
const context = await browser.newContext({ baseURL: hub.url, reducedMotion: "reduce" });
const page = await context.newPage();

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
    }
  }
}

const nameOf = (kind) => kind.replace("/dashboard/", "").replace(/[?&]/g, ".").replace(/\.$/, "").replaceAll("/", "-").replaceAll("*", "one") || "silos";

await page.goto("/dashboard/sign-in");
await take("sign-in");
await page.getByLabel("Token", { exact: true }).fill("nonsense");
await page.getByRole("button", { name: "Sign in" }).click();
await take("sign-in-refused");
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
await unfold(page, "Signed in as");
await take("menu");
console.log([...seen.keys()].join("\n"));
await browser.close();
