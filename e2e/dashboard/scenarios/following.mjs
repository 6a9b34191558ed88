// Open pages follow what changes, by each of the three ways to hear of it, and in more tabs than a browser has connections.
import assert from "node:assert/strict";
import { edit, marked, openSilo, row, signIn, addForm, unfold } from "../pages.mjs";

// What older browsers lack.
const WITHOUT = {
  "a shared worker": [],
  "a leading tab": ["SharedWorker"],
  "asking again": ["SharedWorker", "BroadcastChannel"],
};
const TABS = 8;

async function follow(stage, way, missing) {
  stage.now(`with ${way}: ${TABS} tabs open`);
  const context = await stage.context();
  await context.addInitScript((names) => {
    for (const name of names) delete globalThis[name];
  }, missing);
  const first = await context.newPage();
  await signIn(first, stage.token);
  const tabs = [];
  for (let number = 0; number < TABS; number += 1) {
    const page = await context.newPage();
    await page.goto("/dashboard/silos/office");
    await row(page, "db").waitFor();
    tabs.push({ page, isSame: await marked(page) });
  }
  stage.now(`with ${way}: all tabs follow a change by the API`);
  await stage.record("office", "db", { ip: "10.1.0.1" });
  const changed = performance.now();
  await Promise.all(tabs.map(({ page }) => row(page, "db").getByText("10.1.0.1", { exact: true }).waitFor()));
  stage.measured(`until ${TABS} tabs show a change, with ${way}`, changed);

  stage.now(`with ${way}: all tabs follow a change by a tab`);
  await openSilo(first, "office");
  const form = await edit(first, "db");
  await form.getByLabel("IPv4").fill("10.1.0.2");
  await form.getByRole("button", { name: "Save" }).click();
  await Promise.all(tabs.map(({ page }) => row(page, "db").getByText("10.1.0.2", { exact: true }).waitFor()));

  stage.now(`with ${way}: the others follow when tabs are closed`);
  for (const { page } of tabs.splice(0, 3)) await page.close();
  await first.close();
  await stage.record("office", "new", { ip: "10.1.0.3" });
  await Promise.all(tabs.map(({ page }) => row(page, "new").waitFor()));
  await stage.done("DELETE", "/silos/office/records/new");
  await Promise.all(tabs.map(({ page }) => row(page, "new").waitFor({ state: "detached" })));
  for (const { isSame } of tabs) await isSame();
  await context.close();
}

export default async function (stage) {
  await stage.silo("office", { db: ["10.0.0.5"], nas: ["10.0.0.6"] });

  stage.now("a change does not take away what is being typed");
  const page = await stage.page();
  await signIn(page, stage.token);
  await openSilo(page, "office");
  await unfold(page, "Add a record");
  const isSame = await marked(page);
  const hostname = addForm(page).getByLabel("Hostname");
  await hostname.pressSequentially("half-typ");
  await stage.record("office", "db", { ip: "10.1.0.9" });
  const changed = performance.now();
  await row(page, "db").getByText("10.1.0.9").waitFor();
  stage.measured("until a tab shows a change", changed);
  assert.equal(await hostname.inputValue(), "half-typ");
  assert.ok(await hostname.evaluate((input) => input === document.activeElement), "the focus is elsewhere");
  await isSame();
  await page.close();

  for (const [way, missing] of Object.entries(WITHOUT)) await follow(stage, way, missing);
}
