// Follows each link of built pages: to files and to anchors in them. Links to
// other machines are not followed.
//
// node links.mjs DIRECTORY...

import { readFile, readdir, stat } from "node:fs/promises";
import path from "node:path";

// What stands in a page twice on purpose, or is made by mdBook for others:
// print.html has all chapters in one, toc.html is the sidebar in a frame.
const OWN = /^(404|toc)\.html$/;

async function files(directory, below = "") {
    const found = [];
    for (const name of await readdir(path.join(directory, below))) {
        const file = path.join(below, name);
        const isDirectory =
            (await stat(path.join(directory, file))).isDirectory();
        found.push(...(isDirectory ? await files(directory, file) : [file]));
    }
    return found;
}

const unescaped = (text) =>
    text.replaceAll("&quot;", '"').replaceAll("&#39;", "'")
        .replaceAll("&#x27;", "'").replaceAll("&lt;", "<")
        .replaceAll("&gt;", ">").replaceAll("&amp;", "&");

// The values of these attributes in all tags. Text has its "<" escaped.
function attributes(html, names) {
    const values = [];
    const visible = html.replace(/<!--.*?-->/gs, "")
        .replace(/(<script\b[^>]*>).*?<\/script>/gs, "$1");
    for (const [tag] of visible.matchAll(/<[a-z][^>]*>/gi)) {
        const pattern = new RegExp(`\\s(?:${names})="([^"]*)"`, "g");
        values.push(...[...tag.matchAll(pattern)].map((it) => unescaped(it[1])));
    }
    return values;
}

let pages = 0;
let followed = 0;
const wrong = [];
for (const directory of process.argv.slice(2)) {
    const all = new Set(await files(directory));
    const anchors = new Map();
    const texts = new Map();
    for (const file of all) {
        if (!file.endsWith(".html")) continue;
        const html = await readFile(path.join(directory, file), "utf8");
        texts.set(file, html);
        anchors.set(file, new Set(attributes(html, "id|name")));
    }
    for (const [file, html] of texts) {
        if (OWN.test(file)) continue;
        pages += 1;
        for (const link of attributes(html, "href|src")) {
            if (/^[a-z][a-z0-9+.-]*:|^\/\//i.test(link)) continue;
            followed += 1;
            const [before, anchor = ""] = link.split("#");
            const target = decodeURI(before.split("?")[0]);
            let to = target
                ? path.normalize(path.join(path.dirname(file), target))
                : file;
            if (to.endsWith("/") || to === ".") to = path.join(to, "index.html");
            if (!all.has(to)) {
                wrong.push(`${path.join(directory, file)}: ${link}: no such file`);
            } else if (anchor && anchors.has(to) &&
                !anchors.get(to).has(decodeURIComponent(anchor))) {
                wrong.push(`${path.join(directory, file)}: ${link}: no such place`);
            }
        }
    }
}
for (const it of wrong) console.log(`WRONG ${it}`);
console.log(`${pages} pages, ${followed} links, ${wrong.length} lead nowhere`);
process.exit(wrong.length || !followed ? 1 : 0);
