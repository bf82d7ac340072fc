// <linr-player>: shows one file. Each picture is decoded by the server at the position that is asked for.
// Attributes: data-file (key), data-frames, data-fps, data-height, data-width, data-position, data-source (if it has one).
// <linr-points data-plot="id">: shows the frame of a point in a plot, chosen by a click, or by arrow keys and Enter.
(() => {
  if (customElements.get("linr-player")) return;
  const SPEEDS = [["1/8", 0.125], ["1/4", 0.25], ["1/2", 0.5], ["1", 1], ["2", 2]];
  const TEMPLATE = `
    <div class="linr-stage"><canvas role="img" tabindex="0"></canvas></div>
    <p class="linr-error" role="alert" hidden></p>
    <div class="linr-row">
      <button type="button" class="linr-play">Play</button>
      <label class="linr-grow"><span class="linr-hidden">Position</span>
        <input type="range" class="linr-position" min="0" step="0.01" aria-label="Position, in frames"></label>
      <output class="linr-time"></output>
    </div>
    <div class="linr-row">
      <label>Speed <select class="linr-speed"></select></label>
      <label>View <select class="linr-view"></select></label>
      <label class="linr-grow">Height <input type="range" class="linr-height"> <output class="linr-size"></output></label>
    </div>
    <div class="linr-row linr-wipe" hidden>
      <label class="linr-grow">Wipe: decoded left, source right
        <input type="range" class="linr-wipe-at" min="0" max="1" step="0.005" value="0.5"></label>
    </div>
    <div class="linr-row"><output class="linr-rate"></output><a class="linr-mp4" download>Download mp4</a>
      <a class="linr-linr" download>Download .linr</a></div>`;

  class Player extends HTMLElement {
    // Gradio changes the attributes of the element that is there and removes its children: data-opened is new each time.
    static observedAttributes = ["data-opened"];
    connectedCallback() { this.rebuildSoon(); }
    attributeChangedCallback() { this.rebuildSoon(); }
    rebuildSoon() {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.isConnected && this.rebuild());
    }
    rebuild() {
      this.clock = null;
      this.innerHTML = TEMPLATE;
      const data = this.dataset;
      delete data.shown;
      Object.assign(this, { last: Number(data.frames) - 1, fps: Number(data.fps), file: data.file });
      this.position = Number(data.position || 0);
      this.pictures = {};
      this.times = [];
      this.setUp();
      this.seek(this.position);
    }
    disconnectedCallback() { this.pause(); }
    part(name) { return this.querySelector(`.linr-${name}`); }
    get speed() { return Number(this.part("speed").value); }
    get view() { return this.part("view").value; }
    get outputHeight() { return Number(this.part("height").value); }

    setUp() {
      const height = Number(this.dataset.height), width = Number(this.dataset.width);
      this.aspect = width / height;
      const most = Math.floor(Math.min(4 * height, Math.sqrt(3840 * 2160 / this.aspect)));
      const least = Math.max(1, Math.round(height / 4));
      Object.assign(this.part("height"), { min: least, max: Math.max(height, most), step: 1, value: height });
      this.part("position").max = this.last;
      for (const [name, value] of SPEEDS) this.part("speed").add(new Option(name, value, value === 1, value === 1));
      const views = this.dataset.source ? ["decoded", "wipe", "source", "difference"] : ["decoded"];
      for (const name of views) this.part("view").add(new Option(name, name));
      this.part("play").onclick = () => (this.clock ? this.pause() : this.play());
      this.part("position").oninput = (event) => this.seek(Number(event.target.value));
      this.part("speed").onchange = () => { this.showLinks(); if (this.clock) this.play(); };
      this.part("height").oninput = () => { this.showLinks(); this.seek(this.position); };
      this.part("view").onchange = () => { this.part("wipe").hidden = this.view !== "wipe"; this.seek(this.position); };
      this.part("wipe-at").oninput = () => this.draw();
      this.querySelector("canvas").onkeydown = (event) => this.key(event);
      this.showLinks();
    }
    key(event) {
      const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
      if (event.key === " ") this.part("play").click();
      else if (step) this.seek(Math.min(this.last, Math.max(0, this.position + step)));
      else return;
      event.preventDefault();
    }
    showLinks() {
      const height = this.outputHeight, slowdown = Math.max(1, Math.round(1 / this.speed));
      this.part("size").textContent = `${Math.round(height * this.aspect)}x${height}`;
      this.part("mp4").href = this.url("video.mp4", { height, slowdown });
      this.part("linr").href = this.url("file.linr", {});
    }
    url(name, values) { return `/linr/${name}?${new URLSearchParams({ file: this.file, ...values })}`; }

    play() {
      const from = this.position >= this.last ? 0 : this.position;
      this.clock = { from, start: performance.now() };
      this.part("play").textContent = "Pause";
      if (!this.ticking) this.tick();
    }
    pause() {
      this.clock = null;
      const button = this.part("play");
      if (button) button.textContent = "Play";
    }
    tick() {
      this.ticking = true;
      if (!this.clock || !this.isConnected) { this.ticking = false; return; }
      const seconds = (performance.now() - this.clock.start) / 1000;
      const position = this.clock.from + seconds * this.fps * this.speed;
      this.want(Math.min(position, this.last));
      if (position >= this.last) this.pause();
      requestAnimationFrame(() => this.tick());
    }
    seek(position) {
      if (this.clock) this.clock = { from: position, start: performance.now() };
      this.want(position);
    }
    // One request at a time; of the positions asked for meanwhile, the last is shown.
    async want(position) {
      this.wanted = position;
      if (this.busy) return;
      this.busy = true;
      while (this.wanted !== null) {
        const next = this.wanted;
        this.wanted = null;
        await this.load(next);
      }
      this.busy = false;
    }
    async load(position) {
      const views = this.view === "wipe" ? ["decoded", "source"] : [this.view];
      const started = performance.now();
      try {
        const pictures = await Promise.all(views.map((view) => this.picture(position, view)));
        this.pictures = Object.fromEntries(views.map((view, number) => [view, pictures[number]]));
        this.position = position;
        this.draw();
        document.querySelector("#linr-first")?.remove();
        this.showState(performance.now() - started);
        this.showError("");
      } catch (error) {
        this.pause();
        this.showError(error.message);
      }
    }
    async picture(position, view) {
      const values = { position: position.toFixed(4), height: this.outputHeight, view };
      const answer = await fetch(this.url("frame", values));
      if (!answer.ok) throw new Error(answer.status === 400 ? await answer.text() : `the server answers ${answer.status}`);
      return createImageBitmap(await answer.blob());
    }
    draw() {
      const [first, second] = Object.values(this.pictures);
      if (!first) return;
      const canvas = this.querySelector("canvas"), context = canvas.getContext("2d");
      const { width, height } = first;
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      context.drawImage(first, 0, 0);
      if (second) {
        const left = Math.round(Number(this.part("wipe-at").value) * width);
        if (left < width) context.drawImage(second, left, 0, width - left, height, left, 0, width - left, height);
        const line = Math.max(0.5, 2 * width / (canvas.clientWidth || width));
        context.fillStyle = "white";
        context.fillRect(left - line / 2, 0, line, height);
      }
    }
    showState(milliseconds) {
      const now = performance.now();
      this.times = [...this.times.filter((time) => time > now - 1000), now];
      this.part("position").value = this.position;
      this.part("time").textContent =
        `frame ${this.position.toFixed(2)} of ${this.last}, ${(this.position / this.fps).toFixed(2)} s`;
      const rate = this.clock ? `${this.times.length} frames/s shown, ` : "";
      this.part("rate").textContent = `${rate}${milliseconds.toFixed(0)} ms for the last`;
      this.querySelector("canvas").setAttribute("aria-label", `Frame ${this.position.toFixed(2)}, ${this.view}`);
      this.dataset.shown = this.position.toFixed(4);
    }
    showError(message) {
      this.part("error").textContent = message;
      this.part("error").hidden = !message;
    }
  }
  customElements.define("linr-player", Player);

  class Points extends HTMLElement {
    connectedCallback() {
      this.timer = setInterval(() => this.attach(), 300);
    }
    disconnectedCallback() { clearInterval(this.timer); }
    attach() {
      const plot = document.querySelector(`#${this.dataset.plot} .js-plotly-plot`);
      if (!plot || !plot.on || plot === this.plot) return;
      Object.assign(this, { plot, marked: -1 });
      plot.tabIndex = 0;
      plot.setAttribute("role", "application");
      plot.setAttribute("aria-label", "Plot: arrow keys choose a point, Enter shows its frame");
      plot.addEventListener("keydown", (event) => this.key(event));
      plot.on("plotly_click", (event) => this.show(event.points[0].customdata));
    }
    // The points with a file, and their marks, of the lines that are not hidden by the legend.
    points() {
      const lines = this.plot.data.filter((line) => line.visible !== "legendonly");
      const drawn = this.plot.querySelectorAll(".scatterlayer .trace");
      return lines.flatMap((line, number) => {
        const marks = drawn[number].querySelectorAll(".point");
        return (line.customdata || []).map((point, at) => ({ point, mark: marks[at] }));
      }).filter((each) => each.point);
    }
    key(event) {
      const points = this.points(), step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const to = { Home: 0, End: points.length - 1 }[event.key] ?? this.marked + step;
      if (event.key === "Enter") this.show(points[this.marked]?.point);
      else if (points.length && !Number.isNaN(to)) this.mark(points, Math.min(points.length - 1, Math.max(0, to)));
      else return;
      event.preventDefault();
    }
    mark(points, marked) {
      this.marked = marked;
      points.forEach(({ mark }, number) => mark.classList.toggle("linr-marked", number === marked));
      const status = this.querySelector("[role=status]") || this.insertBefore(document.createElement("p"), this.firstChild);
      Object.assign(status, { className: "linr-note", role: "status", textContent: points[marked].point[2] });
    }
    show(point) {
      if (!point) return;
      const [file, position, caption] = point;
      const picture = document.createElement("img");
      picture.src = `/linr/frame?${new URLSearchParams({ file, position })}`;
      picture.alt = caption;
      const text = document.createElement("figcaption");
      text.textContent = caption;
      picture.onerror = () => { text.textContent = `${caption}: the file cannot be decoded`; };
      const figure = document.createElement("figure");
      figure.append(picture, text);
      this.replaceChildren(...this.querySelectorAll("[role=status]"), figure);
    }
  }
  customElements.define("linr-points", Points);
})();
