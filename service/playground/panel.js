// What one model says of one picture.

import { address, classifyPath, key } from "./api.js";
import { draw, legend, strongest } from "./heatmap.js";

const NAMES = { rollout: "attention rollout", occlusion: "occlusion, slower" };
const STAGES = ["receive", "wait", "decode", "resize", "triton"];
const percent = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });

export const milliseconds = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export function showProblem(box, problem) {
  box.hidden = !problem;
  if (!problem) return box.replaceChildren();
  const small = [problem.code, problem.requestId && `request ${problem.requestId}`].filter(Boolean).join(" · ");
  box.replaceChildren(
    element("strong", { textContent: problem.title }),
    element("p", { textContent: problem.detail }),
    ...(small ? [element("small", { textContent: small })] : []),
  );
}

export class Panel {
  // `changed` is called once the visitor wants another map, `again` to repeat what failed.
  constructor({ changed, again }) {
    this.root = document.getElementById("panel-template").content.cloneNode(true).firstElementChild;
    this.part = (selector) => this.root.querySelector(selector);
    this.choice = { method: "", layer: "", head: "" };
    legend(this.part(".scale"));
    for (const name of ["method", "layer", "head"]) {
      this.part(`.${name}`).addEventListener("change", (event) => {
        this.choice[name] = event.target.value;
        this.#offerParts();
        changed();
      });
    }
    this.part(".again").addEventListener("click", again);
    this.part(".curl").addEventListener("click", () => this.#copy());
    this.part(".stage img").addEventListener("error", () => this.#canShow(false));
    this.part(".stage img").addEventListener("load", () => this.#canShow(true));
  }

  set model(model) {
    const known = this.entry && JSON.stringify(this.entry) === JSON.stringify(model);
    this.entry = model;
    if (known) return;
    this.part("h3").textContent = model.name;
    const methods = model.explain?.methods ?? [];
    this.choice = { method: methods.includes("rollout") ? "rollout" : "", layer: "", head: "" };
    const offered = methods.map((name) => [name, NAMES[name] ?? name]);
    fill(this.part(".method"), [["", "no map"], ...offered], this.choice.method);
    fill(this.part(".layer"), [["", "all, rolled out"], ...numbered(model.explain?.layers)], "");
    this.#offerParts();
  }

  // What is asked of explain; null where no map is wanted.
  get wanted() {
    const { method, layer, head } = this.choice;
    if (!method) return null;
    if (method !== "rollout") return { method };
    return Number.isInteger(parseInt(head)) ? { method, layer, head } : { method, layer, fusion: head };
  }

  #offerParts() {
    const rollout = this.choice.method === "rollout";
    this.part(".controls").hidden = !(this.entry.explain?.methods ?? []).length;
    const one = this.choice.layer !== "";
    const fused = [["", "all, their mean"], ["max", "all, their maximum"], ["min", "all, their minimum"]];
    const heads = one ? [...fused, ...numbered(this.entry.explain?.heads)] : fused;
    if (!heads.some(([value]) => value === this.choice.head)) this.choice.head = "";
    fill(this.part(".head"), heads, this.choice.head);
    for (const name of ["layer", "head"]) this.part(`.${name}`).closest("p").hidden = !rollout;
  }

  show(picture, answer, map) {
    this.picture = picture;
    const image = this.part(".stage img");
    if (image.src !== picture.url) {
      image.src = picture.url;
      image.alt = picture.file.name;
      this.part(".command").hidden = true;
    }
    showProblem(this.part(".answer > .problem"), answer.problem);
    this.part(".again").hidden = ![answer, map].some((each) => each?.problem && mayPass(each.problem));
    this.root.classList.toggle("unreadable", Boolean(answer.problem));
    this.part(".pending").hidden = Boolean(answer.body || answer.problem);
    this.part(".bars").replaceChildren(...(answer.body?.predictions ?? []).map(bar));
    this.#warn([...(answer.body?.warnings ?? []), ...(map?.body?.warnings ?? [])]);
    this.#time(answer.times);
    this.#map(map);
  }

  set opacity(share) {
    this.part(".map").style.opacity = share;
  }

  #map(map) {
    const canvas = this.part(".map");
    canvas.hidden = this.part("figcaption").hidden = !map?.body;
    this.root.classList.toggle("looking", Boolean(map && !map.body && !map.problem));
    showProblem(this.part(".map-problem"), map?.problem);
    if (!map?.body || canvas.drawn === map.body) return;
    canvas.drawn = map.body;
    draw(canvas, map.body);
    const place = strongest(map.body.grid);
    canvas.setAttribute("aria-label", `Heat map by ${map.body.method} of ${this.entry.name}: the most is at the ${place}`);
    this.part(".meaning").textContent = map.body.method === "occlusion" ? "hidden, it costs the first class" : "attention";
  }

  #warn(warnings) {
    const list = this.part(".warnings");
    list.hidden = !warnings.length;
    list.replaceChildren(...[...new Set(warnings)].map((warning) => element("li", { textContent: warning })));
  }

  #time(times) {
    const box = this.part(".times");
    box.hidden = !times?.has("total");
    if (box.hidden) return;
    const total = times.get("total");
    const stages = [...times].filter(([name]) => name !== "total");
    const rest = Math.max(0, total - stages.reduce((sum, [, value]) => sum + value, 0));
    const parts = [...stages.sort(([a], [b]) => STAGES.indexOf(a) - STAGES.indexOf(b)), ["gateway", rest]];
    box.querySelector("h4").textContent = `Answered in ${milliseconds(total)}`;
    box.querySelector(".strip").replaceChildren(...parts.map(([name, value]) => {
      const piece = element("i", { className: name });
      piece.style.flexGrow = value;
      return piece;
    }));
    box.querySelector("ul").replaceChildren(...parts.map(([name, value]) =>
      element("li", { className: name }, `${name} `, element("span", { textContent: milliseconds(value) }))));
  }

  #canShow(can) {
    const { naturalWidth, naturalHeight } = this.part(".stage img");
    if (can && naturalHeight) {
      this.part(".stage").style.setProperty("--ratio", naturalWidth / naturalHeight);
      this.part(".stage").style.setProperty("--natural", `${naturalWidth}px`);
    }
    this.part(".unshown").hidden = can;
    this.part(".stage").classList.toggle("blank", !can);
  }

  async #copy() {
    const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
    const header = key.get() ? ' -H "Authorization: Bearer $VITRINE_CLIENT_KEY"' : "";
    const command = `curl --data-binary @${quote(this.picture.file.name)}${header} ${quote(address(classifyPath(this.entry.name)))}`;
    const box = this.part(".command");
    box.textContent = command;
    box.hidden = false;
    const button = this.part(".curl");
    try {
      await navigator.clipboard.writeText(command);
      button.textContent = "Copied";
    } catch {
      // No clipboard without TLS: it is selected, ready to be copied.
      getSelection().selectAllChildren(box);
      button.textContent = "Selected below";
    }
    setTimeout(() => (button.textContent = "Copy as curl"), 2500);
  }
}

// Whether the same request may be answered later: what is wrong with a picture stays.
const mayPass = ({ status }) => status < 400 || status >= 500 || [401, 408, 429].includes(status);

const numbered = (count) => Array.from({ length: count ?? 0 }, (_, index) => [String(index), String(index + 1)]);

export function fill(select, options, value) {
  const same = JSON.stringify(options) === JSON.stringify([...select.options].map((option) => [option.value, option.text]));
  if (!same) select.replaceChildren(...options.map(([name, text]) => new Option(text, name)));
  select.value = value;
}

export const scoreOf = (prediction) => percent.format(prediction.score);

function bar(prediction) {
  const line = element("i", { ariaHidden: "true" });
  line.style.setProperty("--share", prediction.score);
  return element("li", {},
    element("span", { className: "label", textContent: prediction.label }),
    element("span", { className: "score", textContent: scoreOf(prediction) }),
    line);
}
