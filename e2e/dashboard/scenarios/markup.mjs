// Hostnames, comments and names full of markup are shown as text, on every page.
import assert from "node:assert/strict";
import { crawl } from "../crawl.mjs";
import { addRecord, openSilo, row, signIn } from "../pages.mjs";

const MARKUP = `<img src=x onerror=alert(1)><b>bold</b> "quotes" 'and' &amp; {{ 7*7 }} </script><script>alert(2)</script>`;

export default async function (stage) {
  await stage.silo("office", { db: ["10.0.0.5"] });
  await stage.record("office", "db", { ip: "10.0.0.6", comment: MARKUP });
  await stage.newToken({ name: MARKUP.slice(0, 100), role: "write", silos: ["office"] });
  const page = await stage.page();
  page.on("dialog", (dialog) => assert.fail(`a script of the data ran: ${dialog.message()}`));
  await signIn(page, stage.token);
  await openSilo(page, "office");
  await row(page, "db").getByText(MARKUP, { exact: true }).waitFor();

  stage.now("what is typed comes back as text, also when it is refused");
  await stage.expecting([422], async () => {
    await addRecord(page, { hostname: "<script>alert(3)</script>", ip4: "<b>", comment: MARKUP });
    await page.locator("[aria-invalid=true]").first().waitFor();
  });
  assert.equal(await page.getByLabel("Hostname").first().inputValue(), "<script>alert(3)</script>");

  stage.now("in addresses of pages");
  const tried = `/dashboard/silos/office?q=${encodeURIComponent(MARKUP)}`;
  await page.goto(tried);
  assert.equal(await page.getByRole("searchbox").inputValue(), MARKUP);
  await stage.expecting([400, 404, 422], async () => {
    await page.goto(`/dashboard/silos/${encodeURIComponent(MARKUP)}`);
    await page.goto(`/dashboard/silos/office/${encodeURIComponent(MARKUP)}`);
    await page.goto(`/dashboard/${encodeURIComponent(MARKUP)}?notice=${encodeURIComponent(MARKUP)}`);
    await page.goto(`/dashboard/?notice=${encodeURIComponent(MARKUP)}&theme=${encodeURIComponent(MARKUP)}`);
  });

  stage.now("a live update inserts text, too");
  await openSilo(page, "office");
  await stage.record("office", "web", { ip: "10.0.0.7", comment: `${MARKUP} live` });
  await row(page, "web").getByText(`${MARKUP} live`, { exact: true }).waitFor();

  stage.now("on every page");
  await crawl(page, async (kind) => {
    const found = await page.evaluate(() => {
      const strays = [...document.querySelectorAll("img, b, script:not([src]), [onerror], [style], iframe, object")];
      return strays.map((element) => element.outerHTML.slice(0, 200));
    });
    assert.deepEqual(found, [], kind);
  });
}
