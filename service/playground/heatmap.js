// Draws a grid of numbers over a picture.

const LONGEST = 640;

// Cividis (Nuñez, Anderton, Renslow 2018), made to look alike to people with and without colour blindness.
const STOPS = [
  [0, 34, 78], [0, 46, 106], [26, 56, 111], [50, 67, 109], [67, 78, 108], [83, 90, 109], [97, 101, 111],
  [111, 112, 115], [125, 124, 120], [140, 136, 120], [155, 148, 118], [171, 160, 114], [188, 174, 108],
  [205, 187, 99], [222, 201, 88], [240, 216, 70], [254, 232, 56],
];

const TABLE = Array.from({ length: 256 }, (_, level) => {
  const place = (level / 255) * (STOPS.length - 1);
  const low = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[low].map((channel, index) => channel + (place - low) * (STOPS[low + 1][index] - channel));
});

export function draw(canvas, { grid, geometry }) {
  const scale = LONGEST / Math.max(geometry.width, geometry.height);
  canvas.width = Math.max(1, Math.round(geometry.width * scale));
  canvas.height = Math.max(1, Math.round(geometry.height * scale));
  const context = canvas.getContext("2d");
  const [left, top, right, bottom] = geometry.box.map((edge) => edge * scale);
  const image = context.createImageData(canvas.width, canvas.height);
  const sample = sampler(grid);
  for (let y = Math.max(0, Math.floor(top)); y < Math.min(canvas.height, bottom); y++) {
    for (let x = Math.max(0, Math.floor(left)); x < Math.min(canvas.width, right); x++) {
      const value = sample((x + 0.5 - left) / (right - left), (y + 0.5 - top) / (bottom - top));
      const colour = TABLE[Math.max(0, Math.min(255, Math.round(255 * value)))];
      image.data.set([...colour, 255], 4 * (y * canvas.width + x));
    }
  }
  context.putImageData(image, 0, 0);
}

// Bilinear between the middles of the cells; x and y from 0 to 1.
function sampler({ rows, columns, values }) {
  const between = (place, count) => {
    const at = Math.max(0, Math.min(count - 1, place * count - 0.5));
    const low = Math.floor(at);
    return [low, Math.min(count - 1, low + 1), at - low];
  };
  return (x, y) => {
    const [up, down, part] = between(y, rows);
    const [left, right, share] = between(x, columns);
    const mix = (row) => values[row][left] * (1 - share) + values[row][right] * share;
    return mix(up) * (1 - part) + mix(down) * part;
  };
}

// For those who cannot see the map: where the most of it is.
export function strongest({ rows, columns, values }) {
  let best = [0, 0];
  values.forEach((row, y) => row.forEach((value, x) => {
    if (value > values[best[0]][best[1]]) best = [y, x];
  }));
  const third = (at, count, words) => words[Math.min(2, Math.floor((3 * (at + 0.5)) / count))];
  const place = [third(best[0], rows, ["top", "", "bottom"]), third(best[1], columns, ["left", "", "right"])];
  return place.filter(Boolean).join(" ") || "middle";
}

// The colours from least to most, for a legend.
export function legend(canvas) {
  const context = canvas.getContext("2d");
  canvas.width = TABLE.length;
  canvas.height = 1;
  TABLE.forEach((colour, x) => {
    context.fillStyle = `rgb(${colour.map(Math.round).join(" ")})`;
    context.fillRect(x, 0, 1, 1);
  });
}
