// Without JavaScript: everything but live updates.
import assert from "node:assert/strict";
import { addForm, addRecord, button, edit, errorOf, fillRecord, form, link, menu, openSilo, row, signIn } from "../pages.mjs";

export default async function (stage) {
  await stage.silo("office", { db: ["10.0.0.5"], nas: ["10.0.0.6"] });
  const page = await stage.page({ script: false });

  stage.now("signs in, after a wrong token");
  await page.goto("/dashboard/sign-in");
  await page.getByLabel("Token", { exact: true }).fill("nonsense");
  await stage.expecting([422], async () => {
    await button(page, "Sign in").click();
    await page.locator("[aria-invalid=true]").waitFor();
  });
  await signIn(page, stage.token);

  stage.now("adds, changes, deletes and undoes");
  await openSilo(page, "office");
  await stage.expecting([422], async () => {
    await addRecord(page, { hostname: "not a name", ip4: "10.0.0.9" });
    await page.locator("[aria-invalid=true]").waitFor();
  });
  assert.match(await errorOf(addForm(page).getByLabel("Hostname")), /letters, digits/);
  assert.equal(await addForm(page).getByLabel("IPv4").inputValue(), "10.0.0.9");
  await fillRecord(addForm(page), { hostname: "web" });
  await button(addForm(page), "Add").click();
  await row(page, "web").getByText("10.0.0.9").waitFor();
  const fields = await edit(page, "nas");
  await fillRecord(fields, { ip4: "10.0.0.66" });
  await button(fields, "Save").click();
  await row(page, "nas").getByText("10.0.0.66").waitFor();
  await edit(page, "db");
  await button(page, "Delete").click();
  await row(page, "db").waitFor({ state: "detached" });
  await button(page, "Undo").click();
  await row(page, "db").getByText("10.0.0.5").waitFor();

  stage.now("searches on the server");
  await page.getByRole("searchbox").fill("nas");
  await page.getByRole("searchbox").press("Enter");
  await row(page, "web").waitFor({ state: "detached" });
  await row(page, "nas").waitFor();

  stage.now("makes a token and revokes it");
  await link(page.getByRole("navigation"), "Tokens").click();
  await link(page, "New token").click();
  const spec = form(page, "Make the token");
  await spec.getByLabel("Name", { exact: true }).fill("plain");
  await spec.getByRole("radio", { name: /^read/ }).check();
  await spec.getByLabel("Silos", { exact: true }).fill("office");
  await button(spec, "Make the token").click();
  const secret = (await page.getByText(/^silo_[a-z0-9]{10}_/).textContent()).trim();
  await link(page, "Done").click();
  await link(page, "Revoke").click();
  await button(page, "Revoke it").click();
  await page.waitForURL(/\/dashboard\/tokens(\?.*)?$/);
  assert.equal((await stage.api("GET", "/silos/office", undefined, { token: secret })).status, 401);

  stage.now("chooses a theme, signs out, and in again by the code of a link");
  await menu(page, "Dark");
  assert.equal(await page.locator("html").getAttribute("data-theme"), "dark");
  await menu(page, "Sign out");
  await page.waitForURL("**/dashboard/sign-in**");
  const made = await stage.ask("cli", { arguments: ["dashboard", "link"] });
  assert.equal(made.code, 0, made.err);
  await page.goto("/dashboard/link");
  await page.getByLabel(/^Code/).fill(made.out.trim().split("#")[1]);
  await button(page, "Sign in").click();
  await page.waitForURL("**/dashboard/");
}
