// The playground: asks each chosen version, shows its tokens as they come, with log probabilities on hover and focus.
"use strict";
(() => {
  const form = document.getElementById("try");
  if (!form) return;
  const answers = document.getElementById("answers");
  const stopButton = document.getElementById("stop-answers");
  const guidance = form.elements.guidance;
  const NUMBERS = ["max_tokens", "temperature", "top_p", "num_beams", "seed"];
  let running = null;

  guidance.addEventListener("input", () => {
    guidance.dataset.own = "false";
    document.getElementById("guidance-value").textContent = Number(guidance.value).toFixed(1);
  });

  function make(tag, className, text) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function readForm(version) {
    const body = { version, kind: form.elements.kind.value, text: form.elements.text.value, stop: form.elements.stop.value };
    for (const name of NUMBERS) if (form.elements[name].value !== "") body[name] = Number(form.elements[name].value);
    if (guidance.dataset.own === "false" && version !== "base") body.guidance = Number(guidance.value);
    return body;
  }

  function makePanel(label) {
    const panel = make("section", "panel answer");
    panel.setAttribute("aria-label", label);
    panel.append(make("h3", "", label));
    const text = make("p", "text tokens");
    const token = make("p", "hint token-facts");
    token.setAttribute("aria-live", "polite");
    const facts = make("dl", "facts");
    const copies = make("p", "copies");
    panel.append(text, token, facts, copies);
    text.addEventListener("keydown", moveBetweenTokens);
    const show = (event) => { if (event.target.dataset.facts) token.textContent = event.target.dataset.facts; };
    text.addEventListener("focusin", show);
    text.addEventListener("mouseover", show);
    answers.append(panel);
    return { panel, text, token, facts, copies };
  }

  function moveBetweenTokens(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || !event.target.matches(".token")) return;
    const tokens = [...event.currentTarget.querySelectorAll(".token")];
    const next = tokens[tokens.indexOf(event.target) + step];
    if (!next) return;
    event.preventDefault();
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  function formatProbability(logprob) {
    return `${logprob.toFixed(3)} (${(100 * Math.exp(logprob)).toFixed(1)} %)`;
  }

  function addToken(view, text, logprob, others) {
    const token = make("span", "token", text);
    if (typeof logprob === "number") {
      const likely = Math.exp(logprob);
      if (likely < 0.5) token.classList.add(likely < 0.1 ? "unlikely" : "unsure");
      const rest = others.map(([name, value]) => `${JSON.stringify(name)} ${formatProbability(value)}`).join(", ");
      token.dataset.facts = `${JSON.stringify(text)}: log probability ${formatProbability(logprob)}${rest ? `. Likeliest: ${rest}` : ""}`;
      token.title = token.dataset.facts;
      view.token.textContent ||= "Point at a token, or move to it with the arrow keys, for its log probability.";
      token.tabIndex = view.text.querySelector(".token[tabindex='0']") ? -1 : 0;
    }
    view.text.append(token);
  }

  function addChunk(view, chunk) {
    if (chunk.error) { addProblem(view, chunk.error.message); return; }
    for (const choice of chunk.choices ?? []) {
      const own = choice.logprobs;
      if (own?.content) {
        for (const one of own.content) addToken(view, one.token, one.logprob, (one.top_logprobs ?? []).map((other) => [other.token, other.logprob]));
      } else if (own?.tokens) {
        own.tokens.forEach((text, index) => addToken(view, text, own.token_logprobs[index], Object.entries(own.top_logprobs?.[index] ?? {})));
      } else {
        const text = choice.delta ? choice.delta.content : choice.text;
        if (text) addToken(view, text, null, []);
      }
      if (choice.finish_reason) addFact(view, "ended", choice.finish_reason);
    }
    if (chunk.usage) addFact(view, "tokens", `${chunk.usage.completion_tokens} of the answer, ${chunk.usage.prompt_tokens} of the input`);
  }

  function addFact(view, name, value) {
    view.facts.append(make("dt", "", name), make("dd", "", value));
  }

  function addProblem(view, text) {
    const problem = make("p", "trouble", text);
    problem.setAttribute("role", "alert");
    view.panel.insertBefore(problem, view.text);
  }

  function addCopies(view, programs) {
    for (const [name, label] of [["curl", "Copy as curl"], ["python", "Copy as Python"]]) {
      const button = make("button", "quiet", label);
      button.type = "button";
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(programs[name]);
        button.textContent = "Copied";
      });
      const shown = make("details");
      shown.append(make("summary", "", `as ${name}`), make("pre", "", programs[name]));
      view.copies.append(button, " ");
      view.panel.append(shown);
    }
  }

  const HANDLERS = {
    request: addCopies,
    head: (view, value) => {
      addFact(view, "first byte after", `${value.ms} ms`);
      for (const [name, text] of Object.entries(value.headers)) addFact(view, name, text);
    },
    chunk: addChunk,
    end: (view, value) => addFact(view, "whole answer after", `${value.ms} ms`),
    problem: addProblem,
  };

  function handleEvent(view, text) {
    const fields = Object.fromEntries(text.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
    if (HANDLERS[fields.event]) HANDLERS[fields.event](view, JSON.parse(fields.data));
  }

  async function askVersion(version, label, signal) {
    const view = makePanel(label);
    try {
      const headers = { "content-type": "application/json", "x-form-token": form.dataset.token };
      const response = await fetch(form.action, { method: "POST", headers, body: JSON.stringify(readForm(version)), signal });
      if (!response.ok || !response.body) {
        const page = new DOMParser().parseFromString(await response.text(), "text/html");
        const beats = [...page.querySelectorAll(".beats dd")].map((one) => one.textContent);
        addProblem(view, beats.length ? `Wanted ${beats[0]}; got ${beats[1]}; ${beats[2]}.` : `The console refused (status ${response.status}).`);
        return;
      }
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let waiting = "";
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        const events = (waiting + part.value).split("\n\n");
        waiting = events.pop();
        for (const event of events) handleEvent(view, event);
      }
    } catch (problem) {
      addProblem(view, signal.aborted ? "Stopped." : `The console does not answer: ${problem.message}.`);
    }
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const chosen = [...form.querySelectorAll("[name=version]:checked")];
    answers.replaceChildren();
    if (!chosen.length) {
      addProblem(makePanel("No version"), "Choose at least one version.");
      return;
    }
    running?.abort();
    running = new AbortController();
    stopButton.hidden = false;
    const { signal } = running;
    await Promise.all(chosen.map((one) => askVersion(one.value, one.parentElement.textContent.trim(), signal)));
    stopButton.hidden = true;
  });
  stopButton.addEventListener("click", () => running?.abort());
})();
