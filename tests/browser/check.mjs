// Looks at the built book in a browser, on a phone's width and on a desk's, in
// each theme, with and without JavaScript.
//
// node check.mjs BOOK SCREENSHOTS [CHAPTER...]
//
// CHROMIUM names the browser; by default it is looked for in /usr/bin.

import { createServer } from "node:http";
import { mkdir, mkdtemp, readFile, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { chromium } from "playwright-core";

const [book, screenshots, ...wanted] = process.argv.slice(2);
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const WIDTHS = [390, 1280];
const THEMES = ["light", "rust", "coal", "navy", "ayu"];
const TYPES = {
    ".html": "text/html", ".js": "text/javascript", ".css": "text/css",
    ".svg": "image/svg+xml", ".png": "image/png", ".woff2": "font/woff2",
    ".json": "application/json",
};

const wrong = [];
const complain = (where, what) => {
    wrong.push(`${where}: ${what}`);
    console.log(`WRONG ${where}: ${what}`);
};

const server = createServer(async (request, response) => {
    let name = decodeURI(new URL(request.url, "http://book").pathname);
    if (name.endsWith("/")) name += "index.html";
    try {
        const text = await readFile(path.join(book, name));
        const type = TYPES[path.extname(name)] ?? "application/octet-stream";
        response.writeHead(200, { "content-type": type });
        response.end(text);
    } catch {
        response.writeHead(404);
        response.end();
    }
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
const origin = `http://127.0.0.1:${server.address().port}`;

async function pages(directory = "") {
    const found = [];
    for (const name of await readdir(path.join(book, directory))) {
        const file = path.join(directory, name);
        if ((await stat(path.join(book, file))).isDirectory()) {
            found.push(...(await pages(file)));
        } else if (name.endsWith(".html") && !/^(toc|404|print)/.test(name)) {
            found.push(file);
        }
    }
    return found.sort();
}

// What is wider than the page, and does not scroll within something.
const overflowing = () => {
    const width = document.documentElement.clientWidth;
    const page = document.documentElement.scrollWidth;
    const scrolls = (element) => {
        for (let it = element.parentElement; it; it = it.parentElement) {
            const how = getComputedStyle(it).overflowX;
            if (["auto", "scroll", "hidden"].includes(how)) return true;
        }
        return false;
    };
    const found = [...document.querySelectorAll("main *")].filter(
        (it) => it.getBoundingClientRect().right > width + 1 && !scrolls(it),
    );
    const names = found.slice(0, 3).map(
        (it) => `<${it.localName} class="${it.getAttribute("class") ?? ""}"> ` +
            `${it.textContent.trim().slice(0, 40)}`,
    );
    if (page > width + 1) names.push(`the page is ${page} wide`);
    return names;
};

// The page is told of its widths at the end of a frame, and stacks tables then.
const settled = () =>
    new Promise((done) => {
        requestAnimationFrame(() => requestAnimationFrame(() => done()));
    });

// What a rule complains of when the page has settled: a slow machine may take a
// second for its frames and its fonts.
const lasting = async (page, rule) => {
    for (const end = Date.now() + 3000; ; await page.waitForTimeout(100)) {
        await page.evaluate(settled);
        const found = await page.evaluate(rule);
        if (found.length === 0 || Date.now() > end) return found;
    }
};

// Tables of which a part is cut off, until one scrolls them.
const cutTables = () =>
    [...document.querySelectorAll("main .table-wrapper, main .scoreboard")]
        .filter((it) => it.scrollWidth > it.clientWidth + 1)
        .map((it) => it.textContent.trim().replace(/\s+/g, " ").slice(0, 60));

// Options, paths and numbers of holes that are broken at a dash or a slash.
const brokenWords = () =>
    [...document.querySelectorAll("main .whole")]
        .filter((it) => it.getClientRects().length > 1)
        .map((it) => it.textContent);

// Links and code that stand out too little from what is behind them: WCAG's
// level AA asks for a ratio of 4.5 to 1.
const pale = () => {
    const context = document.createElement("canvas")
        .getContext("2d", { willReadFrequently: true });
    // A colour as red, green, blue and alpha, however it is written.
    const known = new Map();
    const colour = (text) => {
        if (!known.has(text)) {
            context.clearRect(0, 0, 1, 1);
            context.fillStyle = text;
            context.fillRect(0, 0, 1, 1);
            const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
            known.set(text, [r, g, b, a / 255]);
        }
        return known.get(text);
    };
    const mix = ([r, g, b], [x, y, z], share) =>
        [[r, x], [g, y], [b, z]].map(([p, q]) => p * share + q * (1 - share));
    const ground = (element) => {
        if (!element) return [255, 255, 255];
        const own = colour(getComputedStyle(element).backgroundColor);
        const share = own[3] * getComputedStyle(element).opacity;
        if (share === 1) return own;
        return mix(own, ground(element.parentElement), share);
    };
    const opacity = (element) =>
        element
            ? getComputedStyle(element).opacity * opacity(element.parentElement)
            : 1;
    const light = (rgb) => {
        const [r, g, b] = rgb.map((it) => {
            const part = it / 255;
            return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const found = new Map();
    for (const it of document.querySelectorAll("main :is(a, a *, code, code *)")) {
        const hasText = [...it.childNodes].some(
            (node) => node.nodeType === Node.TEXT_NODE && node.data.trim(),
        );
        if (!hasText || !it.checkVisibility()) continue;
        const behind = ground(it);
        const text = colour(getComputedStyle(it).color);
        const front = mix(text, behind, text[3] * opacity(it));
        const [low, high] = [light(front), light(behind)].sort((a, b) => a - b);
        const ratio = (high + 0.05) / (low + 0.05);
        if (ratio >= 4.5) continue;
        const kind = `<${it.localName} class="${it.className}">`;
        found.set(kind, `${kind} ${ratio.toFixed(1)}: ${it.textContent.slice(0, 30)}`);
    }
    return [...found.values()];
};

const profile = await mkdtemp(path.join(tmpdir(), "book-browser-"));
const launch = (options) =>
    chromium.launchPersistentContext(profile, {
        executablePath,
        headless: true,
        args: [
            "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync",
        ],
        ...options,
    });

await mkdir(screenshots, { recursive: true });
const all = await pages();
const chosen = wanted.length
    ? all.filter((it) => wanted.some((name) => it.includes(name)))
    : all;
const shot = (page, name) =>
    page.screenshot({ path: path.join(screenshots, name), fullPage: true });

let context = await launch({ viewport: { width: 1280, height: 900 } });
let page = context.pages()[0] ?? (await context.newPage());
let here = "";
page.on("console", (it) => {
    if (it.type() === "error") complain(here, `console: ${it.text()}`);
});
page.on("pageerror", (error) => complain(here, `error: ${error.message}`));
page.on("requestfailed", (it) => {
    // What a page still loads when we leave it is no mistake.
    const why = it.failure()?.errorText;
    if (why !== "net::ERR_ABORTED") complain(here, `${why}: ${it.url()}`);
});

// Each page, in both widths, with all its folds open.
for (const name of chosen) {
    const stem = name.replace(/\.html$/, "").replaceAll("/", "-");
    for (const width of WIDTHS) {
        here = `${name} at ${width}`;
        await page.setViewportSize({ width, height: 900 });
        await page.goto(`${origin}/${name}`);
        for (const theme of ["light", "navy"]) {
            await page.evaluate((it) => {
                localStorage.setItem("mdbook-theme", it);
                localStorage.setItem("mdbook-sidebar", "hidden");
            }, theme);
            await page.reload();
            const closed = await page.locator("main details:not([open])").count();
            const folds = page.locator("main details > summary");
            for (let index = 0; index < (await folds.count()); index++) {
                const fold = folds.nth(index);
                if (await fold.isVisible()) await fold.click();
            }
            const left = await page.locator("main details:not([open])").count();
            if (left > 0) complain(here, `${left} of ${closed} folds stay shut`);
            for (const it of await lasting(page, overflowing)) {
                complain(here, `too wide: ${it}`);
            }
            for (const it of await lasting(page, cutTables)) {
                complain(here, `a table is cut: ${it}`);
            }
            for (const it of await lasting(page, brokenWords)) {
                complain(here, `broken: ${it}`);
            }
            await shot(page, `${stem}-${width}-${theme}.png`);
        }
    }
}

// The themes, by their menu: each has colours of its own.
here = "themes";
await page.setViewportSize({ width: 1280, height: 900 });
await page.goto(`${origin}/${chosen[0]}`);
const backgrounds = new Set();
for (const theme of THEMES) {
    const button = page.locator(`#mdbook-theme-${theme}`);
    if (!(await button.isVisible())) await page.click("#mdbook-theme-toggle");
    await button.click();
    backgrounds.add(
        await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor),
    );
}
if (backgrounds.size < THEMES.length) {
    complain(here, `only ${[...backgrounds].join(", ")}`);
}

// In each of them links and code can be read.
for (const name of chosen) {
    const unfold = () => page.evaluate(() => {
        for (const it of document.querySelectorAll("main details")) it.open = true;
    });
    await page.goto(`${origin}/${name}`);
    await unfold();
    for (const theme of THEMES) {
        here = `${name} in ${theme}`;
        // Colours that change little by little have changed when they are asked.
        await page.evaluate(async (it) => {
            document.getElementById(`mdbook-theme-${it}`).click();
            await new Promise(requestAnimationFrame);
            for (const change of document.getAnimations()) change.finish();
        }, theme);
        // A slow machine may still show some of the theme before: loaded anew,
        // the page has this one from the start.
        let found = await page.evaluate(pale);
        for (let more = 3; found.length > 0 && more > 0; more--) {
            await page.reload();
            await unfold();
            await page.waitForTimeout(1000);
            found = await page.evaluate(pale);
        }
        for (const it of found) complain(here, `pale: ${it}`);
    }
}

// The copy button of a session copies what is typed, and nothing else.
for (const name of chosen) {
    here = `${name}, copying`;
    await page.goto(`${origin}/${name}`);
    const sessions = page.locator("main figure.session:visible");
    if (!(await sessions.count())) continue;
    await context.grantPermissions(["clipboard-read", "clipboard-write"]);
    const session = sessions.first();
    await session.hover();
    await session.locator(".clip-button").click();
    await session.locator(".clip-button.tooltipped").waitFor();
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    const typed = await session.locator(".command").allTextContents();
    if (copied !== typed.map((it) => `${it}\n`).join("")) {
        complain(here, `copies ${JSON.stringify(copied)}`);
    }
}

// On paper no fold is shut.
await page.emulateMedia({ media: "print" });
for (const name of chosen) {
    here = `${name} on paper`;
    await page.goto(`${origin}/${name}`);
    const hidden = await page.evaluate(() =>
        [...document.querySelectorAll("main details:not([open])")].filter(
            (it) => !it.lastElementChild.checkVisibility(),
        ).length,
    );
    if (hidden > 0) complain(here, `${hidden} folds are shut`);
    // The answers stand at the end, and afterwards all is as it was.
    const print = await page.evaluate(() => {
        const main = document.querySelector("main");
        const asked = ":is(.exercise, .quiz):has(> details)";
        const before = main.innerHTML;
        const questions = main.querySelectorAll(asked).length;
        dispatchEvent(new Event("beforeprint"));
        const answers = main.querySelectorAll(".answers > .answer").length;
        const left = main.querySelectorAll(".exercise > details").length;
        dispatchEvent(new Event("afterprint"));
        return { questions, answers, left, same: main.innerHTML === before };
    });
    if (print.answers !== print.questions || print.left || !print.same) {
        complain(here, `the answers: ${JSON.stringify(print)}`);
    }
}
await page.emulateMedia({ media: null });

// The search.
here = "search";
await page.goto(`${origin}/${chosen[0]}`);
await page.keyboard.press("s");
await page.locator("#mdbook-searchbar").pressSequentially("pivot_root");
try {
    await page.waitForSelector("#mdbook-searchresults li", { timeout: 5000 });
} catch {
    complain(here, 'finds no "pivot_root"');
}
await context.close();
await rm(profile, { recursive: true });

// Without JavaScript everything is there to be read.
context = await launch({
    viewport: { width: 390, height: 900 },
    javaScriptEnabled: false,
});
page = context.pages()[0] ?? (await context.newPage());
for (const name of chosen) {
    here = `${name} without JavaScript`;
    await page.goto(`${origin}/${name}`);
    if (!(await page.locator("main h1").first().isVisible())) {
        complain(here, "there is nothing to read");
    }
    const stem = name.replace(/\.html$/, "").replaceAll("/", "-");
    await shot(page, `${stem}-390-no-javascript.png`);
}
await page.goto(`${origin}/${chosen[0]}`);
await context.close();
await rm(profile, { recursive: true, force: true });
server.close();

console.log(`${chosen.length} pages, ${wrong.length} complaints`);
process.exit(wrong.length ? 1 : 0);
