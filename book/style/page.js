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
let opened = [];
addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("main details:not([open])")];
    for (const fold of opened) fold.open = true;
});
addEventListener("afterprint", () => {
    for (const fold of opened) fold.open = false;
});
