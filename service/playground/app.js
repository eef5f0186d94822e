// The page: which models, which pictures, and what is asked for them.

import { classify, explain, key, models } from "./api.js";
import { Panel, element, fill, scoreOf, showProblem } from "./panel.js";

const MOST = 100;
const by = (id) => document.getElementById(id);
const state = { models: [], chosen: ["", ""], pictures: [], current: null };
const panels = [0, 1].map(() => new Panel({ changed: refresh, again: () => retry(state.current) }));

// Models

let later;

async function loadModels() {
  clearTimeout(later);
  try {
    state.models = await models();
    showProblem(by("models-problem"), null);
  } catch (problem) {
    state.models = [];
    showProblem(by("models-problem"), problem);
    if (problem.status === 401) {
      by("models-problem").append(element("button", { type: "button", textContent: "Enter a key", onclick: askForKey }));
    }
  }
  const waits = !state.models.length || state.models.some((model) => model.state === "loading");
  if (waits && by("models-problem").querySelector("button") === null) later = setTimeout(loadModels, 2000);
  const names = served().map((model) => model.name);
  if (!names.includes(state.chosen[0])) state.chosen[0] = served().find((model) => model.default)?.name ?? names[0] ?? "";
  if (!names.includes(state.chosen[1])) state.chosen[1] = "";
  showModels(names);
  refresh();
}

const served = () => state.models.filter((model) => model.state === "served");
const modelOf = (name) => served().find((model) => model.name === name);

function showModels(names) {
  const options = names.map((name) => [name, name]);
  fill(by("model-a"), options.length ? options : [["", "none is served"]], state.chosen[0]);
  fill(by("model-b"), [["", "nothing"], ...options.filter(([name]) => name !== state.chosen[0])], state.chosen[1]);
  by("model-b").parentElement.hidden = names.length < 2;
  by("facts-a").textContent = facts(modelOf(state.chosen[0]));
  by("facts-b").textContent = facts(modelOf(state.chosen[1]));
  const rest = state.models.filter((model) => model.state !== "served" || model.refused);
  by("unserved").hidden = !rest.length;
  by("unserved").querySelector("summary").textContent =
    rest.length === 1 ? "One entry is not served" : `${rest.length} entries are not served`;
  by("unserved").querySelector("dl").replaceChildren(...rest.flatMap(unserved));
}

function unserved(model) {
  const { version, reason } = model.refused ?? model;
  const name = version ? `${model.name} version ${version}` : model.name;
  return [
    element("dt", { textContent: `${name}, ${model.refused ? "refused" : model.state}` }),
    element("dd", { textContent: reason }),
  ];
}

function facts(model) {
  if (!model) return "";
  const accuracy = Number(model.build["measured.top1"] ?? model.build["accuracy.top1"]);
  return [
    `version ${model.version}`,
    model.build.precision,
    accuracy ? `${accuracy.toFixed(1)}% top-1` : "",
    `${model.classes} classes`,
    `${model.input.height}\u00a0×\u00a0${model.input.width}`,
  ].filter(Boolean).join(" · ");
}

for (const [index, id] of ["model-a", "model-b"].entries()) {
  by(id).addEventListener("change", (event) => {
    state.chosen[index] = event.target.value;
    if (state.chosen[0] === state.chosen[1]) state.chosen[1] = "";
    showModels(served().map((model) => model.name));
    refresh();
  });
}

// Pictures

function add(files) {
  const pictures = [...files].map((file) => ({ file, url: URL.createObjectURL(file), answers: new Map(), maps: new Map() }));
  const taken = pictures.slice(0, MOST - state.pictures.length);
  by("note").hidden = taken.length === pictures.length;
  by("note").textContent = `This page holds ${MOST} pictures; ${pictures.length - taken.length} are left out. The command vitrine classify takes any number.`;
  pictures.slice(taken.length).forEach((picture) => URL.revokeObjectURL(picture.url));
  if (!taken.length) return;
  state.pictures.push(...taken);
  by("shelf").append(...taken.map(thumbnail));
  state.current = taken[0];
  refresh();
}

function thumbnail(picture) {
  const image = element("img", { src: picture.url, alt: "", loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.classList.add("blank"));
  picture.caption = element("span", { className: "said" });
  picture.button = element("button", { type: "button" }, image,
    element("span", { className: "name", textContent: picture.file.name }), picture.caption);
  picture.button.addEventListener("click", () => {
    state.current = picture;
    refresh();
    by("detail").scrollIntoView({ block: "nearest" });
  });
  return element("li", {}, picture.button);
}

by("clear").addEventListener("click", () => {
  state.pictures.forEach((picture) => URL.revokeObjectURL(picture.url));
  Object.assign(state, { pictures: [], current: null });
  by("shelf").replaceChildren();
  by("note").hidden = true;
  refresh();
  by("files").focus();
});

for (const id of ["files", "camera"]) {
  by(id).addEventListener("change", (event) => {
    add(event.target.files);
    event.target.value = "";
  });
}

document.addEventListener("paste", (event) => add(event.clipboardData.files));

let inside = 0;
const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
const over = (change) => (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  inside = change(inside);
  document.body.classList.toggle("over", inside > 0);
};
document.addEventListener("dragenter", over((count) => count + 1));
document.addEventListener("dragleave", over((count) => count - 1));
document.addEventListener("dragover", over((count) => count));
document.addEventListener("drop", (event) => {
  over(() => 0)(event);
  if (carriesFiles(event)) add(event.dataTransfer.files);
});

// Questions

// Ask what is not known yet, and show what is.
function refresh() {
  const chosen = state.chosen.filter(Boolean).map(modelOf);
  for (const picture of state.pictures) {
    for (const model of chosen) once(picture.answers, model.name, () => classify(picture.file, model.name), picture);
  }
  if (state.current) {
    for (const [index, model] of chosen.entries()) {
      panels[index].model = model;
      const wanted = panels[index].wanted;
      if (wanted) once(state.current.maps, mapKey(model, wanted), () => explain(state.current.file, model.name, wanted), null);
    }
  }
  render(chosen);
}

const mapKey = (model, wanted) => `${model.name} ${JSON.stringify(wanted)}`;

async function once(known, name, question, announced) {
  if (known.has(name)) return;
  known.set(name, {});
  const found = await question().catch((problem) => ({ problem }));
  known.set(name, found);
  if (announced) announce(announced, name, found);
  render(state.chosen.filter(Boolean).map(modelOf).filter(Boolean));
}

function announce(picture, model, { body, problem }) {
  if (state.pictures.length > 1 && picture !== state.current) return;
  const [first] = body?.predictions ?? [];
  const what = problem ? `${problem.title}. ${problem.detail}` : first ? `${first.label}, ${scoreOf(first)}` : "no class";
  by("status").textContent = `${picture.file.name}, ${model}: ${what}`;
}

function retry(picture) {
  for (const known of [picture.answers, picture.maps]) {
    for (const [name, { problem }] of known) if (problem) known.delete(name);
  }
  refresh();
}

function forget() {
  state.pictures.forEach((picture) => [picture.answers, picture.maps].forEach((known) => known.clear()));
}

// The screen

function render(chosen) {
  const { current, pictures } = state;
  document.body.classList.toggle("filled", pictures.length > 0);
  by("gallery").hidden = pictures.length < 2;
  by("detail").hidden = !current || !chosen.length;
  pictures.forEach((picture) => caption(picture, chosen));
  if (by("detail").hidden) return;
  by("detail-title").textContent = current.file.name;
  by("panels").classList.toggle("two", chosen.length > 1);
  const wanted = chosen.map((_, index) => panels[index].root);
  if (wanted.length !== by("panels").children.length) by("panels").replaceChildren(...wanted);
  for (const [index, model] of chosen.entries()) {
    const asked = panels[index].wanted;
    const map = asked && current.maps.get(mapKey(model, asked));
    panels[index].show(current, current.answers.get(model.name) ?? {}, map);
  }
  by("slider").hidden = !by("panels").querySelector("canvas.map:not([hidden])");
}

function caption(picture, chosen) {
  const answers = chosen.map((model) => picture.answers.get(model.name) ?? {});
  const problems = new Set(answers.flatMap(({ problem }) => problem?.title ?? []));
  picture.caption.replaceChildren(
    ...answers.filter(({ problem }) => !problem).map(({ body }) => {
      const [first] = body?.predictions ?? [];
      return element("span", { textContent: first ? `${first.label} ${scoreOf(first)}` : body ? "no class" : "…" });
    }),
    ...[...problems].map((title) => element("span", { className: "failed", textContent: title })),
  );
  picture.button.ariaCurrent = picture === state.current ? "true" : "false";
}

by("opacity").addEventListener("input", (event) => panels.forEach((panel) => (panel.opacity = event.target.value / 100)));
panels.forEach((panel) => (panel.opacity = by("opacity").value / 100));

// The key

function askForKey() {
  by("key").value = key.get();
  by("key-dialog").returnValue = "cancel";
  by("key-dialog").showModal();
}

by("key-button").addEventListener("click", askForKey);
// Buttons of their own: Enter means the one that submits.
for (const button of by("key-dialog").querySelectorAll("button[type=button]")) {
  button.addEventListener("click", () => by("key-dialog").close(button.value));
}
by("key-dialog").addEventListener("close", () => {
  const { returnValue } = by("key-dialog");
  if (returnValue === "cancel" || !returnValue) return;
  key.set(returnValue === "use" ? by("key").value.trim() : "");
  by("key").value = "";
  forget();
  loadModels();
});

// What is served changes while the page is open.
document.addEventListener("visibilitychange", () => document.hidden || loadModels());
loadModels();
