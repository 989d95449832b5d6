"use strict";

const of = (id) => document.getElementById(id);

function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function fail(line) {
  of("result").hidden = true;
  of("error").textContent = line;
  of("error").hidden = false;
}

function show(labels, found) {
  const [negative, positive] = labels;
  of("error").hidden = true;
  of("label").textContent = found.label;
  of("probability").textContent = found.probability.toFixed(4);
  of("meter").value = found.label === positive ? found.probability : 1 - found.probability;
  of("meter").title = `probability of ${positive}`;
  of("known").textContent =
    `The bar is the probability of ${positive}. ${found.known_words} of ${found.words} words are known to the model.`;
  const words = of("words");
  words.replaceChildren();
  const largest = Math.max(...found.contributions.map((one) => Math.abs(one.log_odds)));
  for (const one of found.contributions) {
    const bar = element("div", one.log_odds > 0 ? "bar up" : "bar down", "");
    bar.style.width = `${(100 * Math.abs(one.log_odds)) / largest}%`;
    bar.title = one.log_odds > 0 ? positive : negative;
    const number = (one.log_odds > 0 ? "+" : "\u2212") + Math.abs(one.log_odds).toFixed(2);
    words.append(element("span", "word", one.word), bar, element("span", "number", number));
  }
  of("heading").hidden = of("explained").hidden = !found.contributions.length;
  of("explained").textContent =
    `Change of the log-odds of ${positive} by a word, compared with the review without it. ` +
    `Blue is for ${positive}, red for ${negative}.`;
  of("result").hidden = false;
}

async function predict() {
  const button = of("predict");
  button.disabled = true;
  try {
    const answer = await fetch("/predict", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ texts: [of("text").value] }),
    });
    const content = await answer.json();
    if (answer.ok) show(content.labels, content.predictions[0]);
    else fail(content.error);
  } catch {
    fail("expected an answer, got none: is the server still running?");
  } finally {
    button.disabled = false;
  }
}

of("predict").addEventListener("click", predict);
of("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) predict();
});
