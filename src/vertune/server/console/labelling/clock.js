/** Measures how long a record was on the screen; time in a hidden tab does not count. */
export class Clock {
  #visible = 0;
  #since = null;

  constructor(signal) {
    document.addEventListener("visibilitychange", () => this.#turn(), { signal });
  }

  /** Begin again at 0. */
  start() {
    this.#visible = 0;
    this.#since = document.hidden ? null : performance.now();
  }

  /** Return the seconds since `start` during which the page was visible. */
  get seconds() {
    const running = this.#since === null ? 0 : performance.now() - this.#since;
    return Math.round(this.#visible + running) / 1000;
  }

  #turn() {
    if (document.hidden && this.#since !== null) {
      this.#visible += performance.now() - this.#since;
      this.#since = null;
    } else if (!document.hidden && this.#since === null) {
      this.#since = performance.now();
    }
  }
}
