// Who may only read sees no button that he may not press, and can't do by hand what he is not shown.
import assert from "node:assert/strict";
import { crawl } from "../crawl.mjs";
import { link, openSilo, row, signIn } from "../pages.mjs";

// What a button says when it changes nothing at the hub but the look of the pages, or the session.
const HARMLESS = /^(Sign out|Sign out everywhere|System|Light|Dark|Search|Filter|Copy.*)$/;

export default async function (stage) {
  await stage.silo("office", { db: ["10.0.0.5"], nas: ["10.0.0.6"] });
  await stage.silo("secret", { vault: ["10.0.0.7"] });
  const reader = await stage.newToken({ name: "reader", role: "read", silos: ["office"] });
  const page = await stage.page();
  await signIn(page, reader.secret);
  await link(page, "office").waitFor();
  assert.equal(await page.getByText("secret").count(), 0, "a silo that it may not read");

  stage.now("no page has a button that is refused");
  await crawl(page, async (kind) => {
    const names = await page.getByRole("button").evaluateAll((all) =>
      all.map((element) => element.getAttribute("aria-label") ?? element.textContent.trim().replace(/\s+/g, " ")),
    );
    // A token may renew and revoke itself.
    const isOwn = new URL(page.url()).pathname.startsWith("/dashboard/tokens/");
    const allowed = isOwn ? /^(Make a new secret|Revoke it)$/ : /^$/;
    for (const name of names) assert.ok(HARMLESS.test(name) || allowed.test(name), `${kind} shows ${name}`);
    const pattern = isOwn ? /^(Edit|New token)/ : /^(Edit|Revoke|New |Revert|Add|Delete)/;
    assert.equal(await page.getByRole("link", { name: pattern }).count(), 0, kind);
  });

  stage.now("what is not shown is refused as well");
  for (const [path, status] of [
    ["/dashboard/silos/secret", 404],
    ["/dashboard/tokens/new", 403],
    ["/dashboard/silos/office/delete", 403],
    ["/dashboard/deliveries", 403],
    ["/dashboard/audit", 403],
    ["/dashboard/system", 403],
  ]) {
    await stage.expecting([status], async () => {
      const answer = await page.goto(path);
      assert.equal(answer.status(), status, path);
      await page.getByRole("heading", { level: 1 }).waitFor();
    });
  }

  stage.now("who may write some hostnames sees buttons at those alone");
  const writer = await stage.newToken({ name: "nas", role: "write", silos: ["office"], hostnames: ["nas"] });
  const other = await stage.page();
  await signIn(other, writer.secret);
  await openSilo(other, "office");
  assert.equal(await row(other, "nas").getByRole("link", { name: /^Edit/ }).count(), 1);
  assert.equal(await row(other, "db").getByRole("link", { name: /^Edit/ }).count(), 0);
}
