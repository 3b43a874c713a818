// What the pages do on a click. Without JavaScript all is readable as well.

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
const make = (name, text, kind) => {
    const element = document.createElement(name);
    element.textContent = text;
    if (kind) element.className = kind;
    return element;
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
