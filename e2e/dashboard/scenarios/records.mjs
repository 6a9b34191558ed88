// Records of a silo: added, refused, changed, deleted, and the last change undone.
import assert from "node:assert/strict";
import { addForm, addRecord, button, edit, errorOf, fillRecord, openSilo, row, signIn } from "../pages.mjs";

export default async function (stage) {
  await stage.silo("office", { db: ["10.0.0.5", "fd00::5"], nas: ["10.0.0.6"] });
  const page = await stage.page();
  await signIn(page, stage.token);
  await openSilo(page, "office");

  stage.now("a record is added");
  await addRecord(page, { hostname: "printer.lan", ip4: "10.0.0.9", comment: "second floor" });
  await row(page, "printer.lan").getByText("10.0.0.9").waitFor();
  await row(page, "printer.lan").getByText("second floor").waitFor();
  assert.deepEqual((await stage.records("office"))["printer.lan"], ["10.0.0.9"]);

  stage.now("a refused hostname is shown beside its field, and what was typed stays");
  const typed = { hostname: "not a name", ip4: "10.0.0.10", ip6: "fd00::10", comment: "kept <b>text</b>" };
  await stage.expecting([422], async () => {
    await addRecord(page, typed);
    await page.locator("[aria-invalid=true]").waitFor();
  });
  const fields = addForm(page);
  assert.match(await errorOf(fields.getByLabel("Hostname")), /letters, digits/);
  for (const [label, text] of [["Hostname", typed.hostname], ["IPv4", typed.ip4], ["IPv6", typed.ip6], ["Comment", typed.comment]]) {
    assert.equal(await fields.getByLabel(label).inputValue(), text, label);
  }
  stage.now("a refused address is shown beside its field");
  await stage.expecting([422], async () => {
    await fillRecord(fields, { hostname: "web", ip4: "10.0.0.256" });
    await button(fields, "Add").click();
    await page.locator("[aria-invalid=true][name*='4']").waitFor();
  });
  assert.match(await errorOf(addForm(page).getByLabel("IPv4")), /IPv4/);
  await fillRecord(addForm(page), { ip4: "10.0.0.11" });
  await button(addForm(page), "Add").click();
  await row(page, "web").getByText("fd00::10").waitFor();

  stage.now("a record is changed in its row");
  const form = await edit(page, "nas");
  assert.equal(await form.getByLabel("IPv4").inputValue(), "10.0.0.6");
  await fillRecord(form, { ip4: "10.0.0.66", ip6: "fd00::66" });
  await button(form, "Save").click();
  await row(page, "nas").getByText("10.0.0.66").waitFor();
  await row(page, "nas").getByText("fd00::66").waitFor();
  assert.deepEqual((await stage.records("office")).nas, ["10.0.0.66", "fd00::66"]);

  stage.now("the last change is undone");
  await button(page, "Undo").click();
  await row(page, "nas").getByText("10.0.0.6", { exact: true }).waitFor();
  assert.deepEqual((await stage.records("office")).nas, ["10.0.0.6"]);

  stage.now("a record is deleted, and that is undone");
  await edit(page, "db");
  await button(page, "Delete").click();
  await row(page, "db").waitFor({ state: "detached" });
  assert.equal((await stage.records("office")).db, undefined);
  await button(page, "Undo").click();
  await row(page, "db").getByText("fd00::5").waitFor();
  assert.deepEqual((await stage.records("office")).db, ["10.0.0.5", "fd00::5"]);

  stage.now("what somebody else changed meanwhile is not undone");
  await edit(page, "web");
  await button(page, "Delete").click();
  await row(page, "web").waitFor({ state: "detached" });
  // Another tab without a script does not learn of the next change.
  const still = await stage.page({ script: false });
  await signIn(still, stage.token);
  await openSilo(still, "office");
  await stage.record("office", "nas", { ip: "10.0.0.7" });
  await stage.expecting([409, 412, 422], async () => {
    await button(still, "Undo").click();
    await still.getByText(/changed/i).first().waitFor();
  });
  assert.deepEqual((await stage.records("office")).nas, ["10.0.0.7"]);
  assert.equal((await stage.records("office")).web, undefined);
}
