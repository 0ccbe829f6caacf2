// Draws the charts of a page with plotly.js, in the page's own colours, when they come into view.
"use strict";

(() => {
  const config = { displaylogo: false, responsive: true, modeBarButtons: [["toImage", "resetScale2d"]] };

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  // plotly.js cuts a title that is longer than its axis.
  function wrapped(title, pixels) {
    const most = Math.max(10, Math.floor(pixels / 7));
    return title.split("<br>").flatMap(line => {
      const lines = [];
      for (const word of line.split(" ")) {
        const joined = lines.length ? `${lines.at(-1)} ${word}` : word;
        if (lines.length && joined.length <= most) lines[lines.length - 1] = joined;
        else lines.push(word);
      }
      return lines;
    }).join("<br>");
  }

  // The data hold no colours but those of the rows: the rest belongs to the light or the dark page.
  function themed(panel, width) {
    const text = colour("--text"), grid = colour("--line"), soft = colour("--soft");
    const axis = { gridcolor: grid, linecolor: grid, zerolinecolor: grid, tickcolor: grid };
    const layout = structuredClone(panel.layout);
    Object.assign(layout, {
      height: panel.height,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 12, color: text },
      hoverlabel: { bgcolor: colour("--card"), bordercolor: grid, font: { color: text }, align: "left" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: soft, activecolor: text },
    });
    Object.assign(layout.xaxis, axis);
    Object.assign(layout.yaxis, axis);
    layout.title.text = wrapped(layout.title.text, width);
    layout.xaxis.title.text = wrapped(layout.xaxis.title.text, width - 90);
    layout.yaxis.title.text = wrapped(layout.yaxis.title.text, panel.height - 80);
    for (const shape of layout.shapes) shape.line.color = shape.layer === "above" ? text : soft;
    const data = structuredClone(panel.data);
    for (const trace of data) {
      if (trace.meta < 0) trace.line.color = soft;
      for (const error of [trace.error_x, trace.error_y]) {
        if (error) error.color = trace.type === "bar" ? text : trace.marker.color;
      }
    }
    return { data, layout };
  }

  class Chart {
    constructor(figure) {
      this.content = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
      this.hidden = new Set();
      this.drawn = false;
      this.plots = this.content.panels.map(panel => {
        const plot = document.createElement("div");
        plot.className = "plot";
        plot.style.height = `${panel.height}px`;
        plot.style.minWidth = `${panel.least_width}px`;
        figure.querySelector(".panels").append(plot);
        return plot;
      });
      this.makeLegend(figure.querySelector(".legend"));
    }

    makeLegend(list) {
      for (const entry of this.content.legend) {
        const button = document.createElement("button");
        const swatch = document.createElement("span");
        swatch.className = `swatch ${entry.look}`;
        swatch.style.color = entry.colour;
        button.type = "button";
        button.setAttribute("aria-pressed", "true");
        button.append(swatch, entry.name);
        button.addEventListener("click", () => {
          if (!this.hidden.delete(entry.number)) this.hidden.add(entry.number);
          button.setAttribute("aria-pressed", String(!this.hidden.has(entry.number)));
          this.draw();
        });
        const item = document.createElement("li");
        item.append(button);
        list.append(item);
      }
      for (const label of this.content.rules) {
        const item = document.createElement("li");
        const dashes = document.createElement("span");
        item.className = "rule";
        dashes.className = "swatch dashes";
        item.append(dashes, label);
        list.append(item);
      }
    }

    draw() {
      this.drawn = true;
      this.content.panels.forEach((panel, place) => {
        const { data, layout } = themed(panel, this.plots[place].clientWidth);
        for (const trace of data) trace.visible = !this.hidden.has(trace.meta);
        Plotly.react(this.plots[place], data, layout, config);
      });
    }
  }

  const charts = new Map();
  const observer = new IntersectionObserver(entries => {
    for (const entry of entries) {
      const chart = charts.get(entry.target);
      if (entry.isIntersecting && !chart.drawn) chart.draw();
    }
  }, { rootMargin: "300px" });
  for (const figure of document.querySelectorAll("figure.chart")) {
    charts.set(figure, new Chart(figure));
    observer.observe(figure);
  }
  const drawAgain = () => {
    for (const chart of charts.values()) if (chart.drawn) chart.draw();
  };
  document.addEventListener("themechange", drawAgain);
  // A phone that hides its address bar changes the height alone, and often.
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) drawAgain();
    width = innerWidth;
  });
})();
