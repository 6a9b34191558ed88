// Tokens: made, with the secret shown once and as a file, rotated and revoked, which ends the sessions made from them.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { button, form, link, row, signIn } from "../pages.mjs";

export default async function (stage) {
  await stage.silo("office", { db: ["10.0.0.5"] });
  const page = await stage.page();
  await signIn(page, stage.token);

  stage.now("what is wrong with a token is shown beside its field");
  await link(page.getByRole("navigation"), "Tokens").click();
  await link(page, "New token").click();
  const fields = form(page, "Make the token");
  await fields.getByLabel("Name", { exact: true }).fill("laptop of Zoë");
  await fields.getByRole("radio", { name: /^write/ }).check();
  await fields.getByLabel("Silos", { exact: true }).fill("office\nno/name");
  await stage.expecting([422], async () => {
    await button(fields, "Make the token").click();
    await page.locator("[aria-invalid=true]").first().waitFor();
  });
  assert.equal(await fields.getByLabel("Name", { exact: true }).inputValue(), "laptop of Zoë");
  assert.equal(await fields.getByLabel("Silos", { exact: true }).inputValue(), "office\nno/name");

  stage.now("a token is made, and its secret shown once");
  await fields.getByLabel("Silos", { exact: true }).fill("office");
  await button(fields, "Make the token").click();
  const shown = page.getByText(/^silo_[a-z0-9]{10}_[A-Za-z0-9_-]{43}$/);
  const secret = (await shown.textContent()).trim();
  const id = secret.slice(5, 15);
  assert.equal((await stage.api("GET", "/silos/office", undefined, { token: secret })).status, 200);

  stage.now("the secret can be copied, and downloaded as a file");
  await page.getByRole("button", { name: /^Copy/ }).click();
  await page.getByRole("status").filter({ hasText: "Copied" }).waitFor({ state: "attached" });
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: /^Download/ }).click(),
  ]);
  assert.equal((await readFile(await download.path(), "utf8")).trim(), secret);
  await page.goto(`/dashboard/tokens/${id}`);
  assert.ok(!(await page.content()).includes(secret.slice(16)), "the secret is shown twice");

  stage.now("its holder signs in, and sees the silo");
  const holder = await stage.page();
  await signIn(holder, secret);
  await link(holder, "office").click();
  await row(holder, "db").waitFor();

  stage.now("a new secret");
  await link(page, "New secret").click();
  await page.getByLabel("The present secret ends").selectOption({ label: "after a day" });
  await button(page, "Make a new secret").click();
  const renewed = (await shown.textContent()).trim();
  assert.notEqual(renewed, secret);
  assert.equal((await stage.api("GET", "/silos/office", undefined, { token: renewed })).status, 200);
  await link(page, "Done").click();

  stage.now("revoked: it ends for the API, and its session in the other browser");
  await link(page, "Revoke").click();
  await stage.expecting([401, 403], async () => {
    await button(page, "Revoke it").click();
    await page.waitForURL(/\/dashboard\/tokens(\?.*)?$/);
    await holder.getByText("You are signed out").waitFor();
  });
  assert.equal((await stage.api("GET", "/silos/office", undefined, { token: renewed })).status, 401);
  await holder.goto("/dashboard/silos/office");
  await holder.waitForURL("**/dashboard/sign-in**");
  assert.equal(await row(page, "laptop of Zoë").count(), 0);

  stage.now("the audit has all of it");
  await link(page.getByRole("navigation"), "Audit").click();
  for (const words of [/made/i, /rotated|secret/i, /revoked/i]) {
    await page.getByRole("row").filter({ hasText: "laptop of Zoë" }).filter({ hasText: words }).first().waitFor();
  }
}
