// Signing in and out: by a token, by a link that works once, wrong ones, and what other tabs see of it.
import assert from "node:assert/strict";
import { button, errorOf, link, menu, signIn } from "../pages.mjs";

export default async function (stage) {
  const page = await stage.page();
  const isTls = stage.origin.startsWith("https:");

  stage.now("a page without a session leads to the sign-in page, and back");
  await page.goto("/dashboard/audit");
  await page.waitForURL("**/dashboard/sign-in?next=*");
  assert.equal(await page.evaluate(() => isSecureContext), isTls || !stage.isFar);
  const warnings = page.getByRole("note").filter({ hasText: "not encrypted" });
  assert.equal(await warnings.count(), isTls || !stage.isFar ? 0 : 1);
  const token = page.getByLabel("Token", { exact: true });
  assert.equal(await token.getAttribute("type"), "password");
  assert.equal(await token.getAttribute("autocomplete"), "current-password");

  stage.now("a wrong token is refused beside its field, and not shown again");
  for (const wrong of ["nonsense", `silo_abcdefgh12_${"x".repeat(43)}`]) {
    await token.fill(wrong);
    await stage.expecting([422], async () => {
      await button(page, "Sign in").click();
      await page.locator("[aria-invalid=true]").waitFor();
    });
    assert.match(await errorOf(token), /unknown, revoked or expired/);
    assert.equal(await token.inputValue(), "");
  }
  await token.fill(stage.token);
  await button(page, "Sign in").click();
  await page.waitForURL("**/dashboard/audit");

  stage.now("the session's cookie is for no script");
  const [cookie] = (await page.context().cookies()).filter(({ name }) => name.includes("silo_"));
  const port = new URL(stage.origin).port;
  assert.match(cookie.name, new RegExp(`^${isTls ? "__Secure-" : ""}silo_[0-9a-f]{8}_${port}$`));
  assert.deepEqual(
    [cookie.httpOnly, cookie.sameSite, cookie.secure, cookie.path],
    [true, "Lax", isTls, "/dashboard"],
  );
  assert.equal(await page.evaluate(() => document.cookie.includes("silo_")), false);

  stage.now("signing out ends the session in all tabs, and the stream with it");
  const other = await page.context().newPage();
  await other.goto("/dashboard/");
  await stage.expecting([401, 403], async () => {
    await menu(page, "Sign out");
    await page.waitForURL("**/dashboard/sign-in**");
    await other.getByText("You are signed out").waitFor();
  });
  await page.goto("/dashboard/audit");
  await page.waitForURL("**/dashboard/sign-in?next=*");

  stage.now("a link signs in once");
  const made = await stage.ask("cli", { arguments: ["dashboard", "link", "--role", "write"] });
  assert.equal(made.code, 0, made.err);
  const path = made.out.match(/https?:\/\/\S+?(\/dashboard\/\S+#\S+)/)[1];
  const guest = await stage.page();
  await guest.goto(path);
  await guest.waitForURL("**/dashboard/");
  assert.equal(await link(guest, "Audit").count(), 0, "a link with the role write shows the audit");
  const late = await stage.page();
  await stage.expecting([401, 403, 422], async () => {
    await late.goto(path);
    await late.getByText(/used|expired|unknown|no longer/i).first().waitFor();
  });
  assert.ok(!late.url().includes(path.split("#")[1]), "the code stays in the address bar");

  stage.now("one may sign in again");
  await signIn(page, stage.token);
}
