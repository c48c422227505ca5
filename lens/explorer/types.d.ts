// What the page's scripts have in common, for the type checker alone (`make check`; the page doesn't carry it): the payload
// as data.py, layer.py and profiles.py write it, which tests/explorer/test_explorer_types.py compares, and the page's state.

/** Values of one array: a typed array of any kind, as far as it is used. */
interface Numbers extends Iterable<number> {
  readonly [index: number]: number;
  readonly length: number;
  subarray(start: number, end: number): Numbers;
  filter(keep: (value: number) => boolean): Numbers;
}

/** An array of the payload (pack.py), with as many axes as `Rank`. */
interface Packed<Rank extends number> {
  data: Numbers;
  shape: number[];
  /** there in types only: what tells arrays of different ranks apart */
  rank?: Rank;
}

/** A value per feature; null where there is none. */
type Column = (number | null)[];

interface CommonFacts {
  study: string;
  model: string;
  model_note: string;
  causal: boolean;
  quantisation: string;
  variant: string;
  architecture: string;
  position: string;
  seeds: number[];
  band_permutations: number;
  T: number;
  /** held-out windows that were measured */
  windows: number;
  documents: string[];
  /** first and last position of each */
  buckets: [number, number][];
  /** of each text position, among the rows of `band` */
  edge_distance: number[];
  band_share: number;
  bandwidth: number;
  /** steps of a quantised activation */
  levels: number;
  /** places among the windows kept */
  passages: number[];
  words: string[];
  layers: string[];
  /** tokens of an own text that the server reads; of a file, absent */
  reads?: number;
  arrays: TextArrays;
}

/** Of the windows kept. */
interface TextArrays {
  /** [kept, T] places among the words */
  tokens: Packed<2>;
  document: Packed<1>;
  start: Packed<1>;
}

interface StudyFacts extends CommonFacts {
  seed: number;
  steps: number;
  corpus: string;
  trained_on: string;
  /** share of the model's depth, by layer */
  depth: Record<string, number>;
  profile?: undefined;
  given?: undefined;
}

interface ProfileFacts extends CommonFacts {
  profile: true;
  bos: boolean;
  /** whether activations were given, without a language model */
  given: boolean;
  beside: Beside[];
  steps?: undefined;
  depth?: undefined;
}

type Facts = StudyFacts | ProfileFacts;

/** A dictionary of the page in the table of all. */
interface Beside {
  name: string;
  place: string;
  fvu?: number | null;
  l0?: number | null;
  delta_ce?: number | null;
  silent_features?: number | null;
  eligible_features?: number | null;
  positional_features?: number | null;
}

interface Columns {
  density: number[];
  positional: number[];
  p: Column;
  information: Column;
  fwhm: Column;
  centre: Column;
  dwell: Column;
  token_share: Column;
  cluster: number[];
  shared_with_seeds: number[];
  /** of clocks beside the position */
  [clock: `since_${string}` | `positional_given_${string}`]: Column;
}

interface Twin {
  name: string;
  feature: number[];
  decoder: number[];
  shared: number[];
  encoder?: Column;
  mask?: Column;
  profile?: Column;
  /** where the twin is shown, if it is */
  study?: string;
  layer?: string;
}

/** On each feature's tuning to position, and the features that it inherits from. */
interface Verdicts {
  of: string[];
  from: string[];
}

interface LayerNumbers {
  fvu?: number | null;
  l0?: number | null;
  silent_features?: number | null;
  eligible_features?: number | null;
  positional_features?: number | null;
  positional_share_1_null?: number | null;
  clusters_favoured?: number | null;
  clusters_stable?: number | null;
  cluster_silhouette?: number | null;
  cluster_silhouette_best?: number | null;
}

interface Lens {
  words: string[];
  promoted: number[][];
  suppressed: number[][];
  promoted_z: number[][];
  suppressed_z: number[][];
}

interface Clusters {
  members: number[];
  /** the two things joined, and at which height */
  merges: [number, number, number][];
  leaves: number[];
}

interface LayerPart {
  layer: string;
  features: number;
  band_scale: number;
  columns: Columns;
  verdicts: Verdicts | null;
  numbers: LayerNumbers;
  twins: Twin[];
  clusters: Clusters | null;
  lens: Lens | null;
  arrays: LayerArrays;
}

/** Of features [K], buckets [B], contexts [C], passages [S] and text positions [P]. */
interface LayerArrays {
  firings: Packed<2>;
  /** [2, E, K] times `band_scale` */
  band: Packed<3>;
  highest: Packed<1>;
  histogram: Packed<2>;
  context_count: Packed<2>;
  context_window: Packed<3>;
  context_peak: Packed<3>;
  context_activation: Packed<4>;
  /** [S, K, P] */
  passage_activation: Packed<3>;
  mask?: Packed<2>;
  neighbour?: Packed<2>;
  neighbour_cosine?: Packed<2>;
}

/** A layer as the page uses it. */
interface Layer extends LayerPart {
  smoothed(k: number): Float32Array;
  words: Searched[] | null;
}

/** What a search looks through of one feature. */
interface Searched {
  own: string[];
  rest: string;
}

interface Context {
  bucket: number;
  window: number;
  peak: number;
  values: Numbers;
  strength: number;
}

/** A study, or the profile of one dictionary: the scripts that hold it, and what was unpacked. */
interface Study {
  name: string;
  script: HTMLScriptElement;
  facts?: Facts;
  layers: Map<string, HTMLScriptElement>;
  opened: Map<string, Layer>;
}

interface Studies extends Map<string, Study> {
  get(name: string): Study; // names are those of the page's own choice, or were looked up
}

type View = "features" | "text" | "own" | "clusters" | "about";
type Axis = "linear" | "log";
type Key = keyof Columns | "feature";

interface Filters {
  ranges: Partial<Record<Key, [number | null, number | null]>>;
  positional: string;
  verdict: string;
  cluster: string;
  seeds: string;
}

interface Sorted {
  found: number[];
  /** how many of them are on what is searched for; null if no words are */
  own: number | null;
  /** how many come before those that never fire */
  firing: number;
}

interface Sort {
  key: Key;
  down: boolean;
}

interface State {
  study: string;
  layer: string;
  view: View;
  feature: number | null;
  passage: number;
  token: number;
  query: string;
  filters: Filters;
  sort: Sort;
  axis: Axis;
}

/** What the server answers of a text: its tokens, and the features that are on at each. */
interface OwnText {
  words: string[];
  on: { features: number[]; strengths: number[] }[];
}

/** A text to be shown: its tokens, how strongly the current feature is on, and the features on at each. */
interface Shown {
  words: string[];
  strength(t: number): number;
  on(t: number): { k: number; strength: number }[];
}

interface List {
  element: HTMLElement;
  refresh(): void;
  move(step: number): void;
  mark(): void;
  focus(): void;
  first(): number | undefined;
}

interface App {
  state: State;
  facts: Facts;
  layer: Layer;
  list: List | null;
  address(change?: Partial<State>): string;
  keepAddress(): void;
  go(change: Partial<State>, options?: { history?: boolean }): Promise<void>;
  open(k: number): void;
  show(k: number): void;
  close(): void;
  render(): void;
  renderCard(): void;
}

/** A column of the list. */
interface ListColumn {
  key: Key | "profile";
  label: string;
  long: string;
  others?: string;
  longOthers?: string;
  show?(value: number | null): string;
}

/** What is drawn of a feature's profile, at each text position. */
interface Curves {
  raw: number[];
  smooth: number[];
  low: number[];
  high: number[];
  mask: number[] | null;
}

/** Sentences, of which some are absent, as a paragraph. */
type Paragraph = (...sentences: (string | false | undefined)[]) => HTMLElement;

/** From a position or a value to a place in a drawing. */
type Scale = (value: number) => number;

type Child = Node | string | null | undefined | false | readonly Child[];

/** An event of a control. */
type From<E extends Event> = E & { target: HTMLInputElement & HTMLSelectElement };

interface Props {
  onclick?(event: From<MouseEvent>): void;
  oninput?(event: From<Event>): void;
  onchange?(event: From<Event>): void;
  onkeydown?(event: From<KeyboardEvent>): void;
  onpointermove?(event: PointerEvent): void;
  onpointerdown?(event: PointerEvent): void;
  onpointerleave?(event: PointerEvent): void;
  vars?: Record<string, string | number>;
  [attribute: string]: unknown; // of HTML or SVG: absent for null, undefined and false, empty for true
}

/** Elements of page.html that are more than an element. */
interface Known {
  help: HTMLDialogElement;
  shortcuts: HTMLInputElement;
}
