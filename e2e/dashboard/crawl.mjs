// All pages that links lead to, one of each kind.

// Words of paths that name a page rather than a thing.
const WORDS = new Set(
  "dashboard silos history agents deliveries tokens audit system new rotate revoke revert machine add-machine delete".split(" "),
);

// Parameters that show the same page in another order, or another part of it.
const ORDER = ["sort", "order", "after", "page"];

// The kind of a page: its path without the names of things, and the names of its parameters.
function kindOf(url) {
  const { pathname, searchParams } = new URL(url);
  const path = pathname
    .split("/")
    .map((segment) => (segment === "" || WORDS.has(segment) ? segment : "*"))
    .join("/");
  const parameters = new Set([...searchParams.keys()].filter((name) => !ORDER.includes(name)));
  return path + (parameters.size ? `?${[...parameters].sort().join("&")}` : "");
}

// Visits the pages below /dashboard/ that a signed-in page leads to, and calls `visit(kind)` on each.
export async function crawl(page, visit) {
  const origin = new URL(page.url()).origin;
  const seen = new Map();
  const waiting = [`${origin}/dashboard/`];
  while (waiting.length) {
    const url = waiting.shift();
    const kind = kindOf(url);
    if (seen.has(kind)) continue;
    seen.set(kind, url);
    await page.goto(url);
    await page.getByRole("heading", { level: 1 }).waitFor();
    const links = await page.$$eval("main a[href], nav a[href]", (all) => all.map(({ href }) => href));
    for (const href of links) {
      const target = new URL(href);
      target.hash = "";
      const isPage = target.origin === origin && target.pathname.startsWith("/dashboard/");
      if (isPage && !/\/(assets|backup|file)\b/.test(target.pathname)) waiting.push(target.href);
    }
    await visit(kind);
  }
  return seen;
}
