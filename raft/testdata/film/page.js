'use strict';
// The page shows one scene, up to one step of it. All text goes in as text.
const find = selector => document.querySelector(selector);
const make = (tag, className, ...inside) => {
  const e = document.createElement(tag);
  if (className) e.className = className;
  e.append(...inside);
  return e;
};

const scenes = [...document.querySelectorAll('article')].map(node => ({
  node, name: node.dataset.name, chapter: node.dataset.chapter,
  title: node.querySelector('h2')?.textContent || node.dataset.name,
  ...JSON.parse(node.querySelector('script').textContent),
}));
let scene = null, at = 0, timer = 0;

// viewsAt returns what each member looks like after a step, by its name.
function viewsAt(step) {
  const views = new Map();
  for (const s of scene.Steps.slice(0, step + 1)) for (const v of s.Views || []) views.set(v.ID, v);
  return views;
}

const terms = v => v && v.Log ? v.Log.split(' ') : [];
const lastOf = v => v.First + terms(v).length - 1;

// span is the part of the logs that cards show, six rows of it: the same for all, so that equal places are equal indices.
function span(views, room) {
  const filled = [...views.values()].filter(v => v.Log);
  const high = Math.max(0, ...filled.map(lastOf));
  const low = Math.min(high, ...filled.map(v => v.First));
  const chars = `${high}@${Math.max(1, ...filled.map(v => v.Term))}`.length;
  const row = Math.max(1, Math.floor((room / scene.ids.length - 22) / (chars * 6.7 + 11)));
  return {low: Math.max(low, high - 6 * row + 1), high, chars};
}

function cell(v, index) {
  const list = terms(v), term = list[index - v.First];
  const volatile = index > v.Durable;
  if (term === undefined || volatile && !v.Role) return make('span', 'cell none');
  const e = make('span', 'cell', `${index}@${parseInt(term)}`);
  e.style.setProperty('--term', parseInt(term));
  if (index <= v.Commit) e.classList.add('committed');
  if (volatile) e.classList.add('volatile');
  if (term.endsWith('+')) e.classList.add('change');
  return e;
}

function fact(name, value) { return make('span', '', name + ' ', make('b', '', String(value))); }

function card(id, v, {low, high}, founders, changed) {
  const e = make('section', `card ${v?.Role || 'down'}${changed ? ' changed' : ''}`);
  e.append(make('header', '', make('b', '', id), make('span', 'role', v ? v.Role || 'down' : 'not there yet')));
  if (!v) return e;
  const facts = make('div', 'facts', fact('term', v.Term), fact('commit', v.Commit));
  if (v.Vote) facts.append(fact('vote', v.Vote));
  if (v.Members !== founders) facts.append(fact('members', v.Members || 'none'));
  const log = make('div', 'log');
  for (let i = low; i <= high && high > 0; i++) log.append(cell(v, i));
  e.append(facts, log);
  return e;
}

function showCards() {
  const cards = scene.node.querySelector('.cards');
  const views = viewsAt(at), part = span(views, cards.clientWidth - 48);
  const changed = new Set((scene.Steps[at].Views || []).map(v => v.ID));
  cards.style.setProperty('--chars', part.chars);
  cards.replaceChildren(...scene.ids.map(id => card(id, views.get(id), part, scene.founders, at > 0 && changed.has(id))));
}

const still = matchMedia('(prefers-reduced-motion: reduce)').matches;

function showTime(calmly) {
  const y = scene.Steps[at].Y, stage = scene.node.querySelector('.stage'), veil = scene.node.querySelector('.veil');
  veil.style.transition = calmly ? '' : 'none';
  veil.style.setProperty('--now', `${y + 4}px`);
  const room = stage.clientHeight - scene.node.querySelector('.cards').offsetHeight;
  stage.scrollTo({top: y - room * 0.7, behavior: calmly && !still ? 'smooth' : 'auto'});
}

function showText() {
  const lines = [...scene.node.querySelectorAll('.script li')];
  for (const li of lines) {
    const now = Number(li.dataset.step) === at;
    li.classList.toggle('now', now && !li.classList.contains('comment'));
    if (now) li.setAttribute('aria-current', 'step'); else li.removeAttribute('aria-current');
  }
  const now = lines.filter(li => Number(li.dataset.step) === at && !li.classList.contains('comment'));
  const script = scene.node.querySelector('.script');
  if (now.length) script.scrollTop = now[0].offsetTop - script.offsetTop - script.clientHeight / 3;
  find('.sr').textContent = now.map(li => li.textContent.trim()).join('. ');
  const blocks = [...scene.node.querySelectorAll('.prose > div')];
  const told = blocks.findLast(b => Number(b.dataset.step) <= at) || blocks[0];
  for (const b of blocks) b.classList.toggle('now', b === told);
}

function showWire() {
  const flying = scene.Wire.filter(m => m.Sent <= at && at < m.Got).map(m => make('code', '', m.Text));
  scene.node.querySelector('.wire').replaceChildren(flying.length ? `On the wire (${flying.length}):` : 'Nothing is on the wire.', ...flying);
}

function showControls() {
  const n = scene.Steps.length;
  Object.assign(find('.controls input'), {max: n - 1, value: at});
  find('.controls output').textContent = `${at + 1} / ${n}`;
  find('.play').textContent = timer ? '❚❚ Pause' : '▶\uFE0E Play';
}

function show(calmly) {
  showCards();
  showTime(calmly);
  showText();
  showWire();
  showControls();
  history.replaceState(null, '', `#${scene.name}${at ? '/' + (at + 1) : ''}`);
}

function go(step, calmly = true) {
  at = Math.min(Math.max(step, 0), scene.Steps.length - 1);
  show(calmly);
}

function open(name, step) {
  stop();
  scene = scenes.find(s => s.name === name) || scenes[0];
  for (const s of scenes) s.node.hidden = s !== scene;
  scene.ids ||= [...new Set(scene.Steps.flatMap(s => (s.Views || []).map(v => v.ID)))];
  scene.founders ??= scene.Steps.find(s => s.Views)?.Views[0].Members;
  scene.node.querySelector('.stage').style.setProperty('--members', scene.ids.length);
  document.title = scene.title;
  for (const a of document.querySelectorAll('nav a')) {
    if (a.hash.slice(1) === scene.name) a.setAttribute('aria-current', 'page'); else a.removeAttribute('aria-current');
  }
  find('nav a[aria-current]')?.scrollIntoView({block: 'nearest'});
  find('.pick select').value = scene.name;
  go(step, false);
}

function next(by) { open(scenes[(scenes.indexOf(scene) + by + scenes.length) % scenes.length].name, 0); }

function stop() {
  clearTimeout(timer);
  timer = 0;
}

function play() {
  const last = scene.Steps.length - 1;
  if (at >= last) at = -1;
  const beat = () => {
    timer = at + 1 < last ? setTimeout(beat, 1200 / find('.controls select').value) : 0;
    go(at + 1);
  };
  beat();
}

const actions = {
  first: () => go(0), back: () => go(at - 1), on: () => go(at + 1), last: () => go(scene.Steps.length - 1),
  play: () => { if (timer) { stop(); showControls(); } else play(); },
};
const keys = {ArrowLeft: actions.back, ArrowRight: actions.on, Home: actions.first, End: actions.last, ' ': actions.play, n: () => next(1), p: () => next(-1)};

function addKeys() {
  addEventListener('keydown', e => {
    const native = e.target.matches('select') || e.key === ' ' && e.target.matches('button, a, summary');
    if (native || e.ctrlKey || e.metaKey || e.altKey || !keys[e.key]) return;
    e.preventDefault();
    if (e.key !== ' ') stop();
    keys[e.key]();
  });
}

function addMouse() {
  for (const b of document.querySelectorAll('[data-go]')) {
    b.onclick = () => {
      if (b.dataset.go !== 'play') stop();
      actions[b.dataset.go]();
    };
  }
  find('.controls input').oninput = e => { stop(); go(Number(e.target.value)); };
  for (const axis of document.querySelectorAll('.time-axis')) {
    axis.onclick = e => { stop(); go(scene.Steps.findIndex(s => s.Y > e.clientY - axis.getBoundingClientRect().top)); };
  }
  for (const li of document.querySelectorAll('.script li')) li.onclick = () => { stop(); go(Number(li.dataset.step)); };
}

function addList() {
  let chapter, group;
  for (const s of scenes) {
    if (s.chapter !== chapter) {
      chapter = s.chapter;
      find('nav').append(make('h2', '', chapter));
      group = make('optgroup');
      group.label = chapter;
      find('.pick select').append(group);
    }
    const a = make('a', '', s.title.replace(/ \([^)]*\)$/, ''));
    a.href = '#' + s.name;
    find('nav').append(a);
    group.append(new Option(s.title, s.name));
  }
  find('.pick select').onchange = e => open(e.target.value, 0);
  document.body.classList.toggle('single', scenes.length === 1);
}

// A narrow page has no room for the legend.
find('.legend').open = !matchMedia('(max-width: 1080px)').matches;

function openHash() {
  const [name, step] = location.hash.slice(1).split('/');
  open(name, step ? step - 1 : 0);
}

addList();
addKeys();
addMouse();
addEventListener('hashchange', openHash);
addEventListener('resize', () => showTime(false));
openHash();
