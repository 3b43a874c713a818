// What the pages do on a click, and on a phone. Without JavaScript all is
// readable as well.

// A word of code, an option, or a name with a number behind its dash
// (CVE-2019-5736) is not broken, if a phone is wide enough for it.
const LONGEST_WORD = 28;

const make = (name, text, kind) => {
    const element = document.createElement(name);
    element.textContent = text;
    if (kind) element.className = kind;
    return element;
};

function keepWordsWhole(main) {
    const texts = document.createTreeWalker(main, NodeFilter.SHOW_TEXT);
    const found = [];
    while (texts.nextNode()) {
        const text = texts.currentNode;
        const element = text.parentElement;
        if (element.closest("pre, svg, script, style")) continue;
        const isWhole = element.closest("code") ? /\W/ : /-\d|(^|\s)-\w/;
        if (isWhole.test(text.data)) found.push([text, isWhole]);
    }
    for (const [text, isWhole] of found) {
        const words = text.data.split(/(\s+)/).map((word) => {
            if (!isWhole.test(word) || !word.trim()) return word;
            const fits = [...word].length <= LONGEST_WORD;
            return make("span", word, fits ? "whole" : "long");
        });
        text.replaceWith(...words);
    }
}

// To a browser what is no longer shown as a table may be none. The roles say that
// it is one still, for who has it read aloud.
const TABLE_ROLES = {
    table: "table", thead: "rowgroup", tbody: "rowgroup", tr: "row",
    th: "columnheader", td: "cell",
};

// A table that is wider than a phone shows its rows one below the other, each
// cell with the name of its column. The style does it; here it is found out
// which, again whenever the width is another one or a fold is opened.
function stackTables(main) {
    const widths = new WeakMap();
    const observer = new ResizeObserver((entries) => {
        for (const { target } of entries) {
            const width = target.clientWidth;
            if (!width || widths.get(target) === width) continue;
            widths.set(target, width);
            const table = target.firstElementChild;
            table.classList.remove("stacked");
            const isWide = target.scrollWidth > width;
            table.classList.toggle("stacked", isWide);
        }
    });
    for (const wrapper of main.querySelectorAll(".table-wrapper")) {
        const [head, ...rows] = wrapper.querySelectorAll("tr");
        for (const cell of rows.flatMap((row) => [...row.cells])) {
            const column = head.cells[cell.cellIndex].textContent;
            if (column) cell.dataset.column = column;
            const length = cell.textContent.length + column.length;
            cell.classList.toggle("short", length < 20);
        }
        for (const it of wrapper.querySelectorAll("table, table *")) {
            const role = TABLE_ROLES[it.localName];
            if (role) it.setAttribute("role", role);
        }
        observer.observe(wrapper);
    }
}


// The copy button of a session copies what is typed, and neither the prompts
// nor what comes back. mdBook's own listener would copy all of it; this one
// stands above the button, so that it hears the click first.
document.addEventListener("click", (event) => {
    const button = event.target.closest(".session .clip-button");
    if (!button) return;
    event.stopImmediatePropagation();
    const typed = button.closest("pre").querySelectorAll(".command");
    const text = [...typed].map((it) => it.textContent + "\n").join("");
    const say = (words) => {
        button.firstChild.innerText = words;
        button.classList.add("tooltipped");
    };
    // A page that came neither by https nor from this machine has no clipboard.
    const copied = navigator.clipboard?.writeText(text) ?? Promise.reject();
    copied.then(() => say("Copied!"), () => say("Clipboard error!"));
}, true);

// On paper all folds are open. The style does it where the browser knows how.
// The answers of exercises and questions stand at the end, below the numbers
// that are set behind what is asked. Afterwards all is put back.
let undo = [];

const put = (node, where, how = "append") => {
    where[how](node);
    undo.push(() => node.remove());
};
const move = (node, to) => {
    const place = document.createComment("moved");
    node.replaceWith(place);
    to.append(node);
    undo.push(() => place.replaceWith(node));
};

addEventListener("beforeprint", () => {
    const main = document.querySelector("main");
    for (const fold of main.querySelectorAll("details:not([open])")) {
        fold.open = true;
        undo.push(() => (fold.open = false));
    }
    const found = [...main.querySelectorAll("h1, .exercise, .quiz")];
    if (found.every((it) => it.localName === "h1")) return;
    const answers = make("section", "", "answers");
    answers.append(make("h1", "Answers"));
    put(answers, main);
    let chapter = "";
    let number = 0;
    for (const it of found) {
        if (it.localName === "h1") {
            chapter = it.textContent;
            continue;
        }
        const folds = [...it.querySelectorAll(":scope > details")];
        if (!folds.length) continue;
        if (chapter) answers.append(make("h2", chapter));
        chapter = "";
        number += 1;
        const isQuiz = it.matches(".quiz");
        const word = isQuiz ? "Answers" : "Answer";
        put(make("p", `${word}: ${number}`, "answer-number"), it);
        const answer = make("div", "", "answer");
        answer.append(make("p", `${number}`, "answer-number"));
        answers.append(answer);
        let chosen = 0;
        for (const fold of folds) {
            if (!isQuiz) {
                move(fold, answer);
                continue;
            }
            // What can be chosen stays in its place, as a, b and c.
            const summary = fold.querySelector("summary");
            const first = !fold.previousElementSibling?.matches("details");
            const question = fold.previousElementSibling;
            if (first) chosen = 0;
            const letter = "abcdef"[chosen++];
            put(document.createTextNode(`${letter}) `), summary, "prepend");
            if (first) {
                const name = question?.querySelector("strong")?.textContent;
                answer.append(make("p", `Question ${name ?? ""}`));
            }
            const reason = make("div", `${letter}) `, "reason");
            answer.append(reason);
            for (const part of [...fold.children]) {
                if (part !== summary) move(part, reason);
            }
        }
    }
});

addEventListener("afterprint", () => {
    for (const it of undo.reverse()) it();
    undo = [];
});

keepWordsWhole(document.querySelector("main"));
stackTables(document.querySelector("main"));
