/**
 * Words and sentence patterns of the synthetic data, in nine languages and five scripts; written for this project, copied from
 * nowhere. Nouns stand in the form that their patterns need (with article, in the right case), and subjects of a language share
 * one gender where verbs would show it, so that every combination is a correct sentence.
 */

/** Languages that samples can be made in, by ISO 639-1 code. */
export const SYNTHETIC_LANGUAGES = ["en", "es", "fr", "pt", "de", "ru", "zh", "ar", "te"] as const;

export type SyntheticLanguage = (typeof SYNTHETIC_LANGUAGES)[number];

/** What a statement says about a subject; its patterns and objects have the same name in a lexicon. */
export const RELATIONS = ["place", "food", "time"] as const;

export type Relation = (typeof RELATIONS)[number];

/** Tasks about numbers, which need no text. */
export const NUMBER_TASKS = ["sum", "larger", "next"] as const;

export type NumberTask = (typeof NUMBER_TASKS)[number];

/** A piece of text with its length in UTF-8, which is asked for more often than the text is made. */
export interface Phrase {
  readonly text: string;
  readonly bytes: number;
}

/** A sentence with open slots. */
export type Pattern = (slots: Readonly<Record<string, string | number>>) => string;

export interface Lexicon {
  /** Between sentences. */
  readonly separator: string;
  readonly subjects: readonly string[];
  readonly objects: Readonly<Record<Relation, readonly string[]>>;
  /** That a subject stands to an object in a relation; both by their number. */
  statement(relation: Relation, subject: number, object: number): Phrase;
  readonly questions: Readonly<Record<Relation, Pattern>>;
  /** About numbers a and b; the answer is c, and d another number. */
  readonly numbers: Readonly<Record<NumberTask, { readonly question: Pattern; readonly answer: Pattern }>>;
  /** Opens a text that a question is about. */
  readonly read: string;
  /** Names part n of a long text. */
  readonly day: Pattern;
  /** Asks for n sentences. */
  readonly count: Pattern;
  /** Opens a friendly answer. */
  readonly friendly: string;
}

/** Patterns with slots in braces: s subject, o object, a and b given numbers, c the number that answers, d another number, n a count. */
interface WrittenLexicon extends Readonly<Record<NumberTask, readonly [question: string, answer: string]>> {
  readonly separator?: string;
  /** Words between bars. */
  readonly subjects: string;
  readonly objects: Readonly<Record<Relation, string>>;
  readonly statements: Readonly<Record<Relation, string>>;
  readonly questions: Readonly<Record<Relation, string>>;
  readonly read: string;
  readonly day: string;
  readonly count: string;
  readonly friendly: string;
}

const WRITTEN: Readonly<Record<SyntheticLanguage, WrittenLexicon>> = {
  en: {
    subjects: "the cat|the dog|the horse|the bird|the fox|the mouse|the rabbit|the bear|the wolf|the goat|the duck|the owl|the sheep",
    objects: {
      place: "in the garden|in the forest|by the river|in the old house|on the mountain|near the school|in the village|by the sea|under the bridge|in the field|behind the church",
      food: "bread|cheese|rice|fish|apples|soup|nuts|corn|honey|carrots",
      time: "in the morning|in the evening|at night|at noon|on Monday|on Friday|in winter|in summer|after dinner",
    },
    statements: { place: "{s} lives {o}.", food: "{s} eats {o}.", time: "{s} sleeps {o}." },
    questions: { place: "Name the place where {s} lives.", food: "Name the food that {s} eats.", time: "Name the time when {s} sleeps." },
    sum: ["Add the numbers {a} and {b}.", "The sum of {a} and {b} is {c}."],
    larger: ["Choose the larger number: {a} or {b}.", "The number {c} is larger than {d}."],
    next: ["Write the number that follows {a}.", "The number after {a} is {c}."],
    read: "Read this text:",
    day: "Day {n}:",
    count: "Sentences in the answer: {n}.",
    friendly: "Of course, I will gladly help you with that!",
  },
  es: {
    subjects: "el gato|el perro|el caballo|el pájaro|el zorro|el ratón|el conejo|el oso|el lobo|la cabra|el pato|el búho|la oveja",
    objects: {
      place: "en el jardín|en el bosque|junto al río|en la casa vieja|en la montaña|cerca de la escuela|en el pueblo|junto al mar|bajo el puente|en el campo|detrás de la iglesia",
      food: "pan|queso|arroz|pescado|manzanas|sopa|nueces|maíz|miel|zanahorias",
      time: "por la mañana|por la tarde|por la noche|al mediodía|el lunes|el viernes|en invierno|en verano|después de la cena",
    },
    statements: { place: "{s} vive {o}.", food: "{s} come {o}.", time: "{s} duerme {o}." },
    questions: { place: "Nombra el lugar donde vive {s}.", food: "Nombra la comida que come {s}.", time: "Nombra el momento en que duerme {s}." },
    sum: ["Suma los números {a} y {b}.", "La suma de {a} y {b} es {c}."],
    larger: ["Elige el número mayor: {a} o {b}.", "El número {c} es mayor que {d}."],
    next: ["Escribe el número que sigue a {a}.", "El número después de {a} es {c}."],
    read: "Lee este texto:",
    day: "Día {n}:",
    count: "Frases en la respuesta: {n}.",
    friendly: "¡Por supuesto, te ayudo con mucho gusto!",
  },
  fr: {
    subjects: "le chat|le chien|le cheval|l'oiseau|le renard|la souris|le lapin|l'ours|le loup|la chèvre|le canard|le hibou|le mouton",
    objects: {
      place: "dans le jardin|dans la forêt|au bord de la rivière|dans la vieille maison|sur la montagne|près de l'école|dans le village|au bord de la mer|sous le pont|dans le champ|derrière l'église",
      food: "du pain|du fromage|du riz|du poisson|des pommes|de la soupe|des noix|du maïs|du miel|des carottes",
      time: "le matin|le soir|la nuit|à midi|le lundi|le vendredi|en hiver|en été|après le dîner",
    },
    statements: { place: "{s} habite {o}.", food: "{s} mange {o}.", time: "{s} dort {o}." },
    questions: { place: "Nomme l'endroit où habite {s}.", food: "Nomme la nourriture que mange {s}.", time: "Nomme le moment où dort {s}." },
    sum: ["Additionne les nombres {a} et {b}.", "La somme de {a} et {b} est {c}."],
    larger: ["Choisis le plus grand nombre : {a} ou {b}.", "Le nombre {c} est plus grand que {d}."],
    next: ["Écris le nombre qui suit {a}.", "Le nombre après {a} est {c}."],
    read: "Lis ce texte :",
    day: "Jour {n} :",
    count: "Phrases dans la réponse : {n}.",
    friendly: "Bien sûr, je t'aide avec plaisir !",
  },
  pt: {
    subjects: "o gato|o cão|o cavalo|o pássaro|a raposa|o rato|o coelho|o urso|o lobo|a cabra|o pato|a coruja|a ovelha",
    objects: {
      place: "no jardim|na floresta|junto ao rio|na casa velha|na montanha|perto da escola|na aldeia|junto ao mar|debaixo da ponte|no campo|atrás da igreja",
      food: "pão|queijo|arroz|peixe|maçãs|sopa|nozes|milho|mel|cenouras",
      time: "de manhã|à tarde|à noite|ao meio-dia|na segunda-feira|na sexta-feira|no inverno|no verão|depois do jantar",
    },
    statements: { place: "{s} mora {o}.", food: "{s} come {o}.", time: "{s} dorme {o}." },
    questions: { place: "Diga o lugar onde {s} mora.", food: "Diga a comida que {s} come.", time: "Diga a altura em que {s} dorme." },
    sum: ["Some os números {a} e {b}.", "A soma de {a} e {b} é {c}."],
    larger: ["Escolha o número maior: {a} ou {b}.", "O número {c} é maior do que {d}."],
    next: ["Escreva o número que vem depois de {a}.", "O número depois de {a} é {c}."],
    read: "Leia este texto:",
    day: "Dia {n}:",
    count: "Frases na resposta: {n}.",
    friendly: "Claro, ajudo você com muito prazer!",
  },
  de: {
    subjects: "die Katze|der Hund|das Pferd|der Vogel|der Fuchs|die Maus|der Hase|der Bär|der Wolf|die Ziege|die Ente|die Eule|das Schaf",
    objects: {
      place: "im Garten|im Wald|am Fluss|im alten Haus|auf dem Berg|neben der Schule|im Dorf|am Meer|unter der Brücke|auf dem Feld|hinter der Kirche",
      food: "Brot|Käse|Reis|Fisch|Äpfel|Suppe|Nüsse|Mais|Honig|Möhren",
      time: "am Morgen|am Abend|in der Nacht|am Mittag|am Montag|am Freitag|im Winter|im Sommer|nach dem Essen",
    },
    statements: { place: "{s} wohnt {o}.", food: "{s} frisst {o}.", time: "{s} schläft {o}." },
    questions: { place: "Nenne den Ort, an dem {s} wohnt.", food: "Nenne das Futter, das {s} frisst.", time: "Nenne die Zeit, zu der {s} schläft." },
    sum: ["Addiere die Zahlen {a} und {b}.", "Die Summe von {a} und {b} ist {c}."],
    larger: ["Wähle die größere Zahl: {a} oder {b}.", "Die Zahl {c} ist größer als {d}."],
    next: ["Schreibe die Zahl, die auf {a} folgt.", "Die Zahl nach {a} ist {c}."],
    read: "Lies diesen Text:",
    day: "Tag {n}:",
    count: "Sätze in der Antwort: {n}.",
    friendly: "Natürlich, dabei helfe ich dir sehr gern!",
  },
  ru: {
    subjects: "кошка|собака|лошадь|птица|лиса|мышь|заяц|медведь|волк|коза|утка|сова|овца",
    objects: {
      place: "в саду|в лесу|у реки|в старом доме|на горе|возле школы|в деревне|у моря|под мостом|в поле|за церковью",
      food: "хлеб|сыр|рис|рыбу|яблоки|суп|орехи|кукурузу|мёд|морковь",
      time: "утром|вечером|ночью|в полдень|в понедельник|в пятницу|зимой|летом|после ужина",
    },
    statements: { place: "{s} живёт {o}.", food: "{s} ест {o}.", time: "{s} спит {o}." },
    questions: { place: "Назови место, где живёт {s}.", food: "Назови еду, которую ест {s}.", time: "Назови время, когда спит {s}." },
    sum: ["Сложи числа {a} и {b}.", "Сумма чисел {a} и {b} равна {c}."],
    larger: ["Выбери большее число: {a} или {b}.", "Число {c} больше, чем {d}."],
    next: ["Напиши число, которое идёт после {a}.", "После числа {a} идёт число {c}."],
    read: "Прочитай этот текст:",
    day: "День {n}:",
    count: "Предложений в ответе: {n}.",
    friendly: "Конечно, я с радостью помогу!",
  },
  zh: {
    separator: "",
    subjects: "猫|狗|马|小鸟|狐狸|老鼠|兔子|熊|狼|山羊|鸭子|猫头鹰|绵羊",
    objects: {
      place: "花园里|森林里|河边|老房子里|山上|学校附近|村子里|海边|桥下|田野里|教堂后面",
      food: "面包|奶酪|米饭|鱼|苹果|汤|坚果|玉米|蜂蜜|胡萝卜",
      time: "早上|晚上|夜里|中午|星期一|星期五|冬天|夏天|晚饭以后",
    },
    statements: { place: "{s}住在{o}。", food: "{s}喜欢吃{o}。", time: "{s}在{o}睡觉。" },
    questions: { place: "请说出{s}住的地方。", food: "请说出{s}喜欢吃的食物。", time: "请说出{s}睡觉的时间。" },
    sum: ["请把数字{a}和{b}相加。", "{a}加上{b}等于{c}。"],
    larger: ["请选出较大的数字：{a}还是{b}。", "数字{c}比数字{d}大。"],
    next: ["请写出{a}后面的数字。", "{a}后面的数字是{c}。"],
    read: "请读这段文字：",
    day: "第{n}天：",
    count: "回答的句子数：{n}。",
    friendly: "当然可以，我很高兴帮助你！",
  },
  ar: {
    subjects: "الكلب|الحصان|الأسد|الثعلب|الفأر|الأرنب|الدب|الذئب|الجمل|الطائر|الديك|الفيل|الخروف",
    objects: {
      place: "في الحديقة|في الغابة|قرب النهر|في البيت القديم|فوق الجبل|قرب المدرسة|في القرية|قرب البحر|تحت الجسر|في الحقل|خلف السوق",
      food: "الخبز|الجبن|الأرز|السمك|التفاح|الحساء|المكسرات|الذرة|العسل|الجزر",
      time: "في الصباح|في المساء|في الليل|عند الظهر|يوم الاثنين|يوم الجمعة|في الشتاء|في الصيف|بعد العشاء",
    },
    statements: { place: "يعيش {s} {o}.", food: "يأكل {s} {o}.", time: "ينام {s} {o}." },
    questions: { place: "اذكر المكان الذي يعيش فيه {s}.", food: "اذكر الطعام الذي يأكله {s}.", time: "اذكر الوقت الذي ينام فيه {s}." },
    sum: ["اجمع العددين {a} و {b}.", "مجموع العددين {a} و {b} هو {c}."],
    larger: ["اختر العدد الأكبر: {a} أو {b}.", "العدد {c} أكبر من العدد {d}."],
    next: ["اكتب العدد الذي يأتي بعد {a}.", "العدد الذي يأتي بعد {a} هو {c}."],
    read: "اقرأ هذا النص:",
    day: "اليوم {n}:",
    count: "عدد الجمل في الجواب: {n}.",
    friendly: "بالتأكيد، سأساعدك بكل سرور!",
  },
  te: {
    subjects: "పిల్లి|కుక్క|గుర్రం|పక్షి|నక్క|ఎలుక|కుందేలు|ఎలుగుబంటి|తోడేలు|మేక|బాతు|గుడ్లగూబ|గొర్రె",
    objects: {
      place: "తోటలో|అడవిలో|నది దగ్గర|పాత ఇంట్లో|కొండ మీద|బడి దగ్గర|ఊరిలో|సముద్రం దగ్గర|వంతెన కింద|పొలంలో|గుడి వెనుక",
      food: "రొట్టె|జున్ను|అన్నం|చేప|పండు|గింజలు|తేనె|క్యారెట్|ద్రాక్ష|మొక్కజొన్న",
      time: "ఉదయం|సాయంత్రం|రాత్రి|మధ్యాహ్నం|సోమవారం|శుక్రవారం|చలికాలంలో|వేసవిలో|భోజనం తర్వాత",
    },
    statements: { place: "{s} {o} నివసిస్తుంది.", food: "{s} {o} తింటుంది.", time: "{s} {o} నిద్రపోతుంది." },
    questions: { place: "{s} నివసించే చోటు చెప్పండి.", food: "{s} తినే ఆహారం చెప్పండి.", time: "{s} నిద్రపోయే సమయం చెప్పండి." },
    sum: ["{a} మరియు {b} కూడండి.", "{a} మరియు {b} కలిపితే {c} వస్తుంది."],
    larger: ["పెద్ద సంఖ్య చెప్పండి: {a} లేదా {b}.", "{c} అనేది {d} కంటే పెద్ద సంఖ్య."],
    next: ["{a} తర్వాత వచ్చే సంఖ్య రాయండి.", "{a} తర్వాత వచ్చే సంఖ్య {c}."],
    read: "ఈ కథ చదవండి:",
    day: "రోజు {n}:",
    count: "జవాబులో వాక్యాల సంఖ్య: {n}.",
    friendly: "తప్పకుండా, సంతోషంగా సహాయం చేస్తాను!",
  },
};

const LEXICONS = new Map<SyntheticLanguage, Lexicon>();

/** The words of a language, its statements written out. */
export function lexiconOf(language: SyntheticLanguage): Lexicon {
  const known = LEXICONS.get(language);
  if (known !== undefined) return known;
  const lexicon = compileLexicon(WRITTEN[language]);
  LEXICONS.set(language, lexicon);
  return lexicon;
}

function compileLexicon(written: WrittenLexicon): Lexicon {
  const { separator = " ", read, friendly, day, count, questions } = written;
  const words = (list: string): readonly string[] => list.split("|");
  const subjects = words(written.subjects);
  const byRelation = <T>(make: (relation: Relation) => T) => Object.fromEntries(RELATIONS.map((relation) => [relation, make(relation)])) as Record<Relation, T>;
  const objects = byRelation((relation) => words(written.objects[relation]));
  const statements = byRelation((relation) => {
    const pattern = compilePattern(written.statements[relation]);
    return subjects.map((s) => objects[relation].map((o) => makePhrase(pattern({ s, o }))));
  });
  const numbers = NUMBER_TASKS.map((task) => {
    const [question, answer] = written[task];
    return [task, { question: compilePattern(question), answer: compilePattern(answer) }] as const;
  });
  return {
    separator,
    read,
    friendly,
    subjects,
    objects,
    day: compilePattern(day),
    count: compilePattern(count),
    questions: byRelation((relation) => compilePattern(questions[relation])),
    numbers: Object.fromEntries(numbers) as Lexicon["numbers"],
    statement: (relation, subject, object) => {
      const phrase = statements[relation][subject]?.[object];
      if (phrase === undefined) throw new RangeError(`no statement of subject ${String(subject)} and object ${String(object)}`);
      return phrase;
    },
  };
}

/** The text and its length. */
export function makePhrase(text: string): Phrase {
  return { text, bytes: Buffer.byteLength(text) };
}

/** A function that fills the slots and begins with an upper-case letter. */
function compilePattern(pattern: string): Pattern {
  // Text and names of slots in turn.
  const parts = pattern.split(/\{(\w)\}/u);
  return (slots) => {
    let text = "";
    for (let i = 0; i < parts.length; i++) text += i % 2 === 0 ? (parts[i] ?? "") : String(slots[parts[i] ?? ""] ?? "");
    return text.charAt(0).toUpperCase() + text.slice(1);
  };
}
