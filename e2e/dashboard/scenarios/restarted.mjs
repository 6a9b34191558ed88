// While the hub is away the open page says so; once it runs again the page is up to date without being loaded again.
import assert from "node:assert/strict";
import { marked, openSilo, row, signIn } from "../pages.mjs";

export default async function (stage) {
  await stage.silo("office", { db: ["10.0.0.5"] });
  const page = await stage.page();
  await signIn(page, stage.token);
  await openSilo(page, "office");
  const isSame = await marked(page);
  const banner = page.getByRole("status").filter({ hasText: /does not answer/ });
  await stage.away(async () => {
    stage.now("the page says that the hub is away");
    const { code, url } = await stage.ask("stop-hub");
    assert.equal(code, 0);
    await banner.waitFor();

    stage.now("the page takes over what changed meanwhile");
    await stage.ask("start-hub", { url });
    await stage.record("office", "db", { ip: "10.0.0.55" });
    await row(page, "db").getByText("10.0.0.55").waitFor();
    await banner.waitFor({ state: "hidden" });
  });
  await isSame();

  stage.now("the session goes on");
  await page.reload();
  await row(page, "db").getByText("10.0.0.55").waitFor();
}
