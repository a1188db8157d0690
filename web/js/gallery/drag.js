/** Reorder cards by dragging them by their picture. */

const START = 5;
/** Where the list begins to scroll: this near to its ends; and how far at once. In pixels. */
const EDGE = 24;
const STEP = 8;

/**
 * Let the cards of a list be dragged; works with mouse, pen and finger.
 * @param {HTMLElement} list - its children with `data-index` are the cards.
 * @param {function(number, number): void} onMove - from which place to which.
 */
export function letCardsBeDragged(list, onMove) {
  list.addEventListener("pointerdown", (event) => {
    const handle = event.target.closest("[data-handle]");
    const card = handle?.closest("[data-index]");
    if (!card || event.button !== 0) return;
    follow(list, card, event, onMove);
  });
}

function follow(list, card, start, onMove) {
  const stop = new AbortController();
  const { signal } = stop;
  let target = null;
  let y = start.clientY;
  let frame = 0;
  const clear = () => list.querySelectorAll(".magref-before, .magref-after").forEach(unmark);
  const end = () => {
    stop.abort();
    cancelAnimationFrame(frame);
    clear();
    card.classList.remove("magref-dragged");
  };
  const aim = () => {
    clear();
    target = placeAt(list, y);
    mark(list, target);
  };
  const scroll = () => {
    if (!card.isConnected) return end();
    const area = list.getBoundingClientRect();
    const way = y < area.top + EDGE ? -STEP : y > area.bottom - EDGE ? STEP : 0;
    if (way) {
      list.scrollTop += way;
      aim();
    }
    frame = requestAnimationFrame(scroll);
  };
  const drag = (event) => {
    const isFar = Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY) > START;
    if (target === null && !isFar) return;
    event.preventDefault();
    card.classList.add("magref-dragged");
    y = event.clientY;
    if (target === null) frame = requestAnimationFrame(scroll);
    aim();
  };
  const drop = () => {
    end();
    if (target === null) return;
    const from = Number(card.dataset.index);
    const to = target > from ? target - 1 : target;
    if (to !== from) onMove(from, to);
  };
  // On the card itself: while it has the pointer, all of its events come here.
  card.setPointerCapture(start.pointerId);
  card.addEventListener("pointermove", drag, { signal });
  card.addEventListener("pointerup", drop, { signal });
  card.addEventListener("pointercancel", end, { signal });
  card.addEventListener("lostpointercapture", end, { signal });
}

/** The gap, counted from 0, that is nearest to a height on the screen. */
function placeAt(list, y) {
  const cards = [...list.querySelectorAll("[data-index]")];
  const before = cards.filter((card) => {
    const area = card.getBoundingClientRect();
    return y > area.top + area.height / 2;
  });
  return before.length;
}

function mark(list, place) {
  const cards = [...list.querySelectorAll("[data-index]")];
  if (place < cards.length) cards[place].classList.add("magref-before");
  else cards.at(-1)?.classList.add("magref-after");
}

function unmark(card) {
  card.classList.remove("magref-before", "magref-after");
}
