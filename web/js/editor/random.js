/** Python's generator of random numbers (MT19937), so that the browser shuffles exactly as the server does. */

const SIZE = 624;
const SHIFT = 397;

/** The generator that `random.Random(seed)` is in Python, as far as shuffling needs it. */
export class PythonRandom {
  /** @param {number} seed - whole number, 0 to 2^53. */
  constructor(seed) {
    const low = seed >>> 0;
    const high = Math.floor(seed / 2 ** 32) >>> 0;
    this.state = seedByArray(high ? [low, high] : [low]);
    this.index = SIZE;
  }

  /** The next 32 random bits. */
  next32() {
    if (this.index >= SIZE) this.#twist();
    let value = this.state[this.index++];
    value ^= value >>> 11;
    value ^= (value << 7) & 0x9d2c5680;
    value ^= (value << 15) & 0xefc60000;
    return (value ^ (value >>> 18)) >>> 0;
  }

  /** A whole number from 0 to below `count`, which is at most 2^31. */
  below(count) {
    const bits = 32 - Math.clz32(count);
    let value;
    do value = this.next32() >>> (32 - bits);
    while (value >= count);
    return value;
  }

  /**
   * Shuffle a list in place.
   * @template T
   * @param {T[]} list
   * @returns {T[]} the list.
   */
  shuffle(list) {
    for (let last = list.length - 1; last > 0; last--) {
      const other = this.below(last + 1);
      [list[last], list[other]] = [list[other], list[last]];
    }
    return list;
  }

  #twist() {
    const state = this.state;
    for (let index = 0; index < SIZE; index++) {
      const mixed = (state[index] & 0x80000000) | (state[(index + 1) % SIZE] & 0x7fffffff);
      state[index] = state[(index + SHIFT) % SIZE] ^ (mixed >>> 1) ^ (mixed & 1 ? 0x9908b0df : 0);
    }
    this.index = 0;
  }
}

function seedByNumber(seed) {
  const state = new Uint32Array(SIZE);
  state[0] = seed;
  for (let index = 1; index < SIZE; index++) {
    const before = state[index - 1] ^ (state[index - 1] >>> 30);
    state[index] = Math.imul(1812433253, before) + index;
  }
  return state;
}

function seedByArray(key) {
  const state = seedByNumber(19650218);
  let index = 1;
  const step = () => {
    if (++index < SIZE) return;
    state[0] = state[SIZE - 1];
    index = 1;
  };
  const before = () => state[index - 1] ^ (state[index - 1] >>> 30);
  for (let round = 0; round < SIZE; round++) {
    const place = round % key.length;
    state[index] = (state[index] ^ Math.imul(before(), 1664525)) + key[place] + place;
    step();
  }
  for (let round = 1; round < SIZE; round++) {
    state[index] = (state[index] ^ Math.imul(before(), 1566083941)) - index;
    step();
  }
  state[0] = 0x80000000;
  return state;
}
