// k6 in front of an Ilk server: native gRPC, an open model, Zipf-popular ids, every kind of query.
//
//   python -m loadtest learn --output ids.json
//   k6 run -e TARGET=127.0.0.1:50051 -e IDS=$PWD/ids.json -e RATE=200 -e DURATION=30s loadtest/k6.js
//
// A server that asks who calls: -e TLS_CA=ca.pem -e TOKEN_FILE=token, and where it wants certificates
// -e TLS_CERT=cert.pem -e TLS_KEY=key.pem; -e TLS=1 alone trusts the system's authorities.
//
// constant-arrival-rate begins iterations on a schedule. Those that no free VU could begin are counted
// as dropped_iterations and appear in no latency: raise VUS until there are none.
import grpc from 'k6/net/grpc';
import { check } from 'k6';
import { Counter, Trend } from 'k6/metrics';

const TARGET = __ENV.TARGET || '127.0.0.1:50051';
const RATE = Number(__ENV.RATE || 100);
const DURATION = __ENV.DURATION || '10s';
const VUS = Number(__ENV.VUS || 50);
const TIMEOUT = __ENV.TIMEOUT || '1s';
const P99_MS = Number(__ENV.P99_MS || 0);
const STREAM_MESSAGES = 20;
const SERVICE = 'ilk.v1.SimilarityService';

const TLS_FILES = ['TLS_CA', 'TLS_CERT', 'TLS_KEY'];
const tls = Object.fromEntries(TLS_FILES.filter((n) => __ENV[n]).map((n) => [n, open(__ENV[n])]));
const entry =
  __ENV.TLS || Object.keys(tls).length
    ? {
        tls: Object.assign(
          {},
          tls.TLS_CA && { cacerts: [tls.TLS_CA] },
          tls.TLS_CERT && { cert: tls.TLS_CERT, key: tls.TLS_KEY },
        ),
      }
    : { plaintext: true };
const metadata = __ENV.TOKEN_FILE ? { authorization: `Bearer ${open(__ENV.TOKEN_FILE).trim()}` } : {};

const world = JSON.parse(open(__ENV.IDS || `${__ENV.PWD}/ids.json`));
const client = new grpc.Client();
client.load([import.meta.resolve('../proto').replace('file://', '')], 'ilk/v1/similarity.proto');

const failures = new Counter('ilk_failures');
const streamed = new Trend('ilk_stream_message_duration', true);

export const options = {
  scenarios: {
    unary: {
      executor: 'constant-arrival-rate',
      exec: 'unary',
      rate: RATE,
      timeUnit: '1s',
      duration: DURATION,
      preAllocatedVUs: VUS,
      maxVUs: 4 * VUS,
    },
    stream: {
      executor: 'constant-vus',
      exec: 'stream',
      vus: 1,
      duration: DURATION,
      gracefulStop: '5s',
    },
  },
  summaryTrendStats: ['min', 'med', 'p(95)', 'p(99)', 'p(99.9)', 'max'],
  // k6 counts a whole stream as one request: of streams, messages are judged.
  thresholds: Object.assign(
    { checks: ['rate>0.999'] },
    P99_MS && {
      'grpc_req_duration{scenario:unary}': [`p(99)<${P99_MS}`],
      ilk_stream_message_duration: [`p(99)<${P99_MS}`],
    },
  ),
};

// The inverse of the cumulative weights 1/1 + 1/2 + ... + 1/n is near n^u.
function popular(ids) {
  const rank = Math.floor(Math.pow(ids.length + 1, Math.random())) - 1;
  return ids[Math.min(rank, ids.length - 1)];
}
const item = () => popular(world.items);
const user = () => popular(world.users);
const genre = () => world.genres[Math.floor(Math.random() * world.genres.length)];
const several = (n) => [...new Set(Array.from({ length: n }, item))];

function rating() {
  const [low, high] = world.scale || [1, 5];
  return { itemId: item(), stars: low + Math.round((high - low) * 2 * Math.random()) / 2 };
}

function newcomer() {
  return {
    profile: { ratings: Array.from({ length: 8 }, rating) },
    filter: { excludeSeen: true },
  };
}

const query = {
  item: () => ({ itemId: item() }),
  hybrid: () => ({ itemId: item(), contentWeight: 0.3, includeComponents: true }),
  user: () => ({ userId: user(), filter: { excludeSeen: true } }),
  audience: () => ({ itemId: item(), target: 'TARGET_USERS' }),
  peers: () => ({ userId: user(), target: 'TARGET_USERS' }),
  profile: newcomer,
  examples: () => ({ examples: { positiveItemIds: several(3) } }),
  text: () => ({ text: genre() }),
  filtered: () => ({ itemId: item(), filter: { minYear: 1990, excludeIds: several(20) } }),
};

const calls = Object.fromEntries(
  Object.entries(query).map(([kind, body]) => [kind, ['FindNeighbors', body]]),
);
calls.batch = ['BatchFindNeighbors', () => ({ queries: Array.from({ length: 16 }, query.item) })];
calls.predict = ['PredictRatings', () => ({ userId: user(), itemIds: several(10) })];
calls.titles = ['SearchTitles', () => ({ text: item().replaceAll('-', ' ').slice(0, 24) })];
calls.items = ['GetItems', () => ({ ids: several(10) })];

const weights = {
  item: 30, user: world.users.length ? 21 : 0, hybrid: 11, profile: 9, filtered: 8, examples: 4,
  audience: world.users.length ? 3 : 0, peers: world.users.length ? 2 : 0,
  text: world.genres.length ? 3 : 0, predict: world.users.length && world.scale ? 3 : 0,
  batch: 2, titles: 2, items: 2,
};
const total = Object.values(weights).reduce((sum, weight) => sum + weight, 0);

function drawnKind() {
  let left = Math.random() * total;
  for (const [kind, weight] of Object.entries(weights)) {
    left -= weight;
    if (left < 0) return kind;
  }
  return 'item';
}

let connected = false;
function connect() {
  if (connected) return;
  client.connect(TARGET, entry);
  connected = true;
}

export function unary() {
  connect();
  const kind = drawnKind();
  const [method, body] = calls[kind];
  const answer = client.invoke(`${SERVICE}/${method}`, body(), {
    timeout: TIMEOUT,
    discardResponseMessage: true,
    metadata,
    tags: { kind },
  });
  const ok = check(answer, { 'status is OK': (a) => a && a.status === grpc.StatusOK }, { kind });
  if (!ok) failures.add(1, { kind, status: String(answer && answer.status) });
}

// Answers keep the order of requests, so the oldest time is the answered message's.
export function stream() {
  connect();
  return new Promise((resolve) => {
    const sent = [];
    let left = STREAM_MESSAGES;
    const open = new grpc.Stream(client, `${SERVICE}/StreamFindNeighbors`, {
      metadata,
      tags: { kind: 'stream' },
    });
    const ask = () => {
      sent.push(Date.now());
      open.write({ requestId: String(left), query: query.item() });
    };
    open.on('data', (answer) => {
      streamed.add(Date.now() - sent.shift());
      check(answer, { 'message is answered': (a) => Boolean(a.response) }, { kind: 'stream' });
      left -= 1;
      if (left > 0) ask();
      else open.end();
    });
    open.on('error', (error) => {
      failures.add(1, { kind: 'stream', status: String(error.code) });
      resolve();
    });
    open.on('end', resolve);
    ask();
  });
}
