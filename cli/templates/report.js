// Shows the numbers under the pointer; they are those of the figure's own table.
for (const chart of document.querySelectorAll('.chart')) {
  const figure = chart.closest('figure');
  const names = [...figure.querySelectorAll('thead th')].map((cell) => cell.textContent);
  const rows = [...figure.querySelectorAll('tr[data-x]')];
  if (!rows.length) continue;
  const places = rows.map((row) => Number(row.dataset.x));
  const make = (name) => {
    const element = document.createElement('div');
    element.className = name;
    element.hidden = true;
    element.setAttribute('aria-hidden', 'true');
    return chart.appendChild(element);
  };
  const cross = make('cross');
  const tip = make('tip');
  const show = (event) => {
    const box = chart.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * 100;
    let nearest = 0;
    places.forEach((place, index) => {
      if (Math.abs(place - x) < Math.abs(places[nearest] - x)) nearest = index;
    });
    cross.style.left = places[nearest] + '%';
    tip.replaceChildren(
      ...[...rows[nearest].cells].map((cell, index) => {
        const line = document.createElement(index ? 'div' : 'b');
        line.textContent = index ? names[index] + ' ' + cell.textContent : cell.textContent;
        return line;
      }),
    );
    const left = places[nearest] < 55;
    tip.style.left = left ? 'calc(' + places[nearest] + '% + .5rem)' : 'auto';
    tip.style.right = left ? 'auto' : 'calc(' + (100 - places[nearest]) + '% + .5rem)';
    cross.hidden = tip.hidden = false;
  };
  chart.addEventListener('pointermove', show);
  chart.addEventListener('pointerdown', show);
  chart.addEventListener('pointerleave', () => { cross.hidden = tip.hidden = true; });
}
