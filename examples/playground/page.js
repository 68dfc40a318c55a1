// Runs once in the page. `element` holds the panels; `trigger` and `watch` are Gradio's.

const tip = document.createElement("div");
tip.className = "pg-tip";
tip.setAttribute("role", "status");
tip.hidden = true;
document.body.append(tip);

function line(className, ...texts) {
  const row = document.createElement("div");
  row.className = className;
  for (const text of texts) {
    const cell = document.createElement("span");
    cell.textContent = text; // never as HTML
    row.append(cell);
  }
  return row;
}

function show(token) {
  const told = JSON.parse(token.dataset.told);
  tip.replaceChildren(line("name", told.token));
  if (told.note) tip.append(line("note", told.note));
  if (told.p) {
    tip.append(line("said", told.p, `${told.bits} bits`));
    if (told.expected.length) tip.append(line("note", "expected here"));
    for (const [name, p, isIt] of told.expected)
      tip.append(line(isIt ? "row it" : "row", name, p));
  }
  tip.hidden = false;
  const at = token.getClientRects()[0], margin = 8;
  const left = Math.min(at.left, document.documentElement.clientWidth - tip.offsetWidth - margin);
  const below = at.bottom + 6;
  const fits = below + tip.offsetHeight + margin < window.innerHeight;
  tip.style.left = `${Math.max(margin, left) + window.scrollX}px`;
  tip.style.top = `${(fits ? below : at.top - tip.offsetHeight - 6) + window.scrollY}px`;
}

function hide() {
  tip.hidden = true;
}

const tokenOf = (event) => event.target.closest?.(".token");

element.addEventListener("mouseover", (event) => tokenOf(event) ? show(tokenOf(event)) : hide());
element.addEventListener("mouseleave", hide);
element.addEventListener("focusin", (event) => tokenOf(event) ? show(tokenOf(event)) : hide());
element.addEventListener("focusout", hide);

element.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hide();
  const token = tokenOf(event);
  if (!token) return;
  const tokens = [...token.parentElement.querySelectorAll(".token")];
  const last = tokens.length - 1, here = tokens.indexOf(token);
  const next = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: last }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  token.tabIndex = -1;
  const other = tokens[Math.max(0, Math.min(last, next))];
  other.tabIndex = 0;
  other.focus();
});

// The panels are written anew after every change: the bar that had the focus gets it back.
let chosen = null;

element.addEventListener("click", (event) => {
  const bar = event.target.closest?.("button[data-token]");
  if (!bar) return;
  const bars = [...element.querySelectorAll("button[data-token]")];
  chosen = bars.indexOf(bar);
  trigger("choose", { run: Number(bar.dataset.run), token: bar.dataset.token });
});

watch("value", () => {
  hide();
  if (chosen === null) return;
  element.querySelectorAll("button[data-token]")[chosen]?.focus({ preventScroll: true });
  chosen = null;
});
