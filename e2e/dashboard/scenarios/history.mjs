// The history of a silo: who changed what, found by hostname, and a silo put back to a revision after a preview.
import assert from "node:assert/strict";
import { button, link, openSilo, signIn } from "../pages.mjs";

export default async function (stage) {
  const before = await stage.silo("office", { db: ["10.0.0.5"], nas: ["10.0.0.6"], old: ["10.0.0.7"] });
  const writer = await stage.newToken({ name: "laptop", role: "write", silos: ["office"] });
  const by = { token: writer.secret };
  await stage.done("PUT", "/silos/office/records/db", { ip: "10.0.0.55" }, by);
  await stage.done("DELETE", "/silos/office/records/old", undefined, by);
  await stage.done("PUT", "/silos/office/records/new", { ip: "10.0.0.8" }, by);
  const page = await stage.page();
  await signIn(page, stage.token);
  await openSilo(page, "office");
  await link(page.getByRole("navigation", { name: "office" }), "History").click();

  stage.now("who changed what, by what way");
  const change = page.getByRole("row").filter({ hasText: "10.0.0.55" });
  for (const words of ["db", "10.0.0.5", "laptop"]) await change.getByText(words).first().waitFor();

  stage.now("filtered by hostname");
  await page.getByLabel("Hostname").fill("new");
  await page.getByLabel("Hostname").press("Enter");
  await page.getByRole("row").filter({ hasText: "10.0.0.8" }).waitFor();
  assert.equal(await page.getByRole("row").filter({ hasText: "10.0.0.55" }).count(), 0);
  await page.goto("/dashboard/silos/office/history");

  stage.now("a preview says what a revert would change, and changes nothing");
  await page.getByRole("link", { name: new RegExp(`^Revert.* ${before.revision}$`) }).click();
  const main = page.getByRole("main");
  for (const words of ["10.0.0.55", "10.0.0.5", "old", "10.0.0.7", "new", "10.0.0.8"]) {
    await main.getByText(words, { exact: false }).first().waitFor();
  }
  assert.deepEqual((await stage.records("office")).db, ["10.0.0.55"]);

  stage.now("a change after the preview is not overwritten");
  const tab = await page.context().newPage();
  await tab.goto(page.url());
  await stage.record("office", "nas", { ip: "10.0.0.66" });
  await stage.expecting([409, 412, 422], async () => {
    await button(tab, "Revert").click();
    await tab.getByText(/changed/i).first().waitFor();
  });
  assert.deepEqual((await stage.records("office")).nas, ["10.0.0.66"]);

  stage.now("the revert");
  await page.reload();
  await button(page, "Revert").click();
  await page.waitForURL(/\/dashboard\/silos\/office/);
  assert.deepEqual(await stage.records("office"), {
    db: ["10.0.0.5"],
    nas: ["10.0.0.6"],
    old: ["10.0.0.7"],
  });
  assert.ok(before.revision < (await stage.done("GET", "/silos/office")).revision);
}
