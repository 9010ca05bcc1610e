/**
 * Languages by family, as the language experiments of FedLLM-Bench group the clients of Fed-Aya: languages that are close to
 * each other learn from each other. A family here is the closest group with well-known members: the branch of the
 * Indo-European languages, otherwise the family (for Chinese the branch Sinitic, for Arabic and Hebrew Semitic).
 * A language is named by its English name, its ISO 639-1 code or its ISO 639-3 code.
 */

/** Family, and of each language its names in lower case. */
const FAMILIES: Readonly<Record<string, readonly string[]>> = {
  germanic: ["english en eng", "german de deu", "dutch nl nld", "swedish sv swe", "danish da dan", "norwegian no nor", "icelandic is isl", "afrikaans af afr"],
  romance: ["spanish es spa", "french fr fra", "portuguese pt por", "italian it ita", "romanian ro ron", "catalan ca cat", "galician gl glg"],
  slavic: ["russian ru rus", "ukrainian uk ukr", "polish pl pol", "czech cs ces", "slovak sk slk", "bulgarian bg bul", "serbian sr srp", "croatian hr hrv", "slovenian sl slv"],
  baltic: ["lithuanian lt lit", "latvian lv lav"],
  greek: ["greek el ell"],
  iranian: ["persian fa fas", "iranian_persian pes", "kurdish ku kur", "pashto ps pus", "tajik tg tgk"],
  "indo-aryan": ["hindi hi hin", "bengali bn ben", "urdu ur urd", "marathi mr mar", "gujarati gu guj", "panjabi pa pan", "nepali ne nep", "sinhala si sin"],
  dravidian: ["telugu te tel", "tamil ta tam", "kannada kn kan", "malayalam ml mal"],
  sinitic: ["chinese zh zho", "simplified_chinese zh-cn zh-hans cmn", "traditional_chinese zh-tw zh-hant", "cantonese yue"],
  semitic: ["arabic ar ara", "standard_arabic arb", "egyptian_arabic arz", "hebrew he heb", "amharic am amh"],
  turkic: ["turkish tr tur", "azerbaijani az aze", "kazakh kk kaz", "kyrgyz ky kir", "uzbek uz uzb"],
  uralic: ["finnish fi fin", "estonian et est", "hungarian hu hun"],
  austronesian: ["indonesian id ind", "malay ms msa", "filipino fil", "tagalog tl tgl", "javanese jv jav", "malagasy mg mlg"],
  austroasiatic: ["vietnamese vi vie", "khmer km khm"],
  "kra-dai": ["thai th tha", "lao lo lao"],
  japonic: ["japanese ja jpn"],
  koreanic: ["korean ko kor"],
  bantu: ["swahili sw swa", "zulu zu zul", "xhosa xh xho", "shona sn sna", "nyanja ny nya"],
  "volta-niger": ["yoruba yo yor", "igbo ig ibo"],
};

const FAMILY_OF: ReadonlyMap<string, string> = new Map(
  Object.entries(FAMILIES).flatMap(([family, languages]) => languages.flatMap((names) => names.split(" ").map((name) => [name, family] as const))),
);

/** The family of a language by name or code, in any case, with blanks or underscores; undefined for one the table does not have. */
export function languageFamily(language: string): string | undefined {
  return FAMILY_OF.get(language.trim().toLowerCase().replaceAll(" ", "_"));
}
