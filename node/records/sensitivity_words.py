"""The built-in rules by word: English, German, French, Spanish, Italian, Portuguese and Dutch, curated and small.

How they are written: a word stands for itself; `suizid*` for every word that begins so, which takes in inflection and
compounds; `substance+use` for two words that say something only together, wherever in a record they stand. Case,
accents and the spelling of umlauts do not matter. A mention marks, also one that denies ("HIV negative"): that
somebody was asked or tested says enough. What is everyday speech in another sense is taken out by `UNLESS`.

Data alone: `node.records.sensitivity` applies it.
"""

from __future__ import annotations

from typing import Final

ANY: Final = "any"
"""The language of words that are the same everywhere: names of substances, mostly."""
LANGUAGES: Final = ("en", "de", "fr", "es", "it", "pt", "nl")

WORDS: Final[dict[str, dict[str, str]]] = {
    ANY: {
        "MH": """
            fluoxetin* sertralin* escitalopram* citalopram* venlafaxin* bupropion* lithium litio quetiapin* olanzapin*
            risperidon* aripiprazol* clozapin* methylphenidat* metilfenidat* bulimi* psychiatr* schizophren* bipolar*
            suicid* depressi* psychot*
        """,
        "SUD": "opioid* heroin* cocain* cannabi* methadon* metadon* buprenorphin* buprenorfin* naltrexon* disulfiram*",
        "HIV": "hiv hiv1 hiv2 antiretroviral* emtricitabin* tenofovir* dolutegravir* efavirenz* bictegravir*",
        "STD": "gonorr* chlamydi* clamidi* syphilis* sifili*",
        "SEX": "levonorgestrel* etonogestrel* medroxyprogesteron* drospirenon* infertil* vasectom* sexuali*",
        "GDIS": "brca brca1 brca2 huntington karyotype",
        "COGN": "alzheimer",
    },
    "en": {
        "MH": """
            depressed antidepressant antidepressants anxiety panic psychosis mental ptsd adhd anorexia mania manic phq
            gad
        """,
        "SUD": """
            alcohol alcoholi* addiction addicted opiate overdose detoxification methamphetamine naloxone intoxication
            drunk dast substance+use substance+abuse drug+abuse drug+dependence
        """,
        "HIV": "aids immunodeficiency",
        "STD": "trichomoniasis venereal genital+herpes",
        "SEX": """
            pregnancy pregnant contraception contraceptive contraceptives miscarriage abortion childbirth obstetric
            obstetrical prenatal antenatal antepartum postpartum intrauterine sterilization fetus fetal norethindrone
            mestranol ethinyl estradiol sexual sexually birth+control
        """,
        "SDV": """
            rape domestic+abuse domestic+violence partner+abuse partner+afraid sexual+assault child+abuse
        """,
        "VIO": "violence",
        "GDIS": "genetic genetics genomic mutation hereditary genotype cystic+fibrosis",
        "COGN": "dementia",
    },
    "de": {
        "MH": """
            angststörung* panikstörung* panikattacke* psychose psychosen suizid* selbstmord*
            selbstverletz* persönlichkeitsstörung* belastungsstörung* zwangsstörung* essstörung* antidepressiv*
            antipsychotik* neuroleptik* magersucht* manie manisch* adhs ptbs
        """,
        "SUD": """
            alkohol alkoholab* alkoholi* alkoholmiss* alkoholkrank* alkoholkons* alkoholentz* alkoholsucht* drogen*
            kokain* opiat opiate opiaten suchterkrank* suchtkrank* suchtmittel* suchtberat* suchttherap*
            abhängigkeitssyndrom* entzugssyndrom* entzugsdelir* substanzmissbrauch* substanzgebrauch* überdosis
            medikamentenabhängig* betrunken*
        """,
        "HIV": "aids immunschwächevirus* immundefizienz*",
        "STD": "geschlechtskrankheit* trichomon* lues genital*+herpes",
        "SEX": """
            schwanger* verhütungsmittel* empfängnisverhütung* kontrazept* abtreibung* fehlgeburt* geburtshilf*
            kreißsaal* wochenbett* kinderwunsch* unfruchtbar* fetus fötus vasektom* sexuell*
        """,
        "SDV": """
            vergewaltig* kindesmisshandl* kindesmissbrauch* partnergewalt* häuslich*+gewalt sexuell*+gewalt
            sexuell*+missbrauch*
        """,
        "VIO": "gewalttat* gewaltopfer* gewalterfahrung* misshandl*",
        "GDIS": """
            genetisch* gentest* genmutation* mutation mutationen erbkrank* hereditär* mukoviszidose* chromosomenan*
        """,
        "COGN": "demenz*",
    },
    "fr": {
        "MH": """
            anxiété anxieux anxieuse* panique psychose psychoses automutil* antidépresseur*
            antipsychotique* neuroleptique* anorexie+mentale mentale* mentaux maniaque* tdah bipolaire*
        """,
        "SUD": """
            alcool* drogue drogues toxicoman* toxicodép* héroïne opiacé* surdose* addict* substance*+abus désintoxic*
        """,
        "HIV": "vih sida immunodéficience*",
        "STD": "vénérien* trichomon* herpès+génital* blennorragie*",
        "SEX": """
            grossesse* enceinte contracep* avortement* avorté* accouchement* fausse+couche foetus foetal* stérilet*
            obstétri* prénatal* sexuel*
        """,
        "SDV": """
            viol violée violences+conjugal* violence+conjugal* violence*+domestiq* violence*+sexuel* agression*+sexuel*
            femme+battue
        """,
        "VIO": "violences maltraitance* maltraité*",
        "GDIS": "génétiq* héréditaire* mucoviscidose* mutation mutations caryotype*",
        "COGN": "démence*",
    },
    "es": {
        "MH": """
            depresión depresiv* ansiedad pánico psicosis psicótic* psicoterap* psiquiatr* esquizofren*
            autolesion* antidepresiv* antipsicótic* neurolépti* trastorno+bipolar tdah tept maníac*
        """,
        "SUD": """
            alcohol droga drogas drogadic* drogodepend* toxicoman* heroína cocaína opiáceo*
            sobredosis adicción adicciones adicto adicta marihuana
        """,
        "HIV": "vih sida inmunodeficiencia*",
        "STD": "venérea* tricomon* herpes+genital*",
        "SEX": """
            embaraz* anticoncep* contracep* aborto abortos parto partos gestación gestante* obstétric* obstetric*
            prenatal feto fetal sexual sexuales esterilidad*
        """,
        "SDV": """
            violación violaciones violencia+doméstica violencia+género violencia+machista violencia+pareja abuso+sexual
            abusos+sexuales agresión+sexual
        """,
        "VIO": "violencia maltrato maltratos maltratada",
        "GDIS": "genétic* hereditari* mutación mutaciones fibrosis+quística cariotipo*",
        "COGN": "demencia*",
    },
    "it": {
        "MH": """
            ansia ansios* panico psicosi psicotic* psicoterap* psichiatr* schizofren* autolesion* antidepressiv*
            antipsicotic* neurolettic* mentale mentali maniacale adhd
        """,
        "SUD": """
            alcol* alcool* droga droghe tossicodip* tossicoman* eroina cocaina oppioid* oppiac* overdose
            metadone sovradosagg*
        """,
        "HIV": "immunodeficienza*",
        "STD": "venere* tricomon* herpes+genital*",
        "SEX": """
            gravidanz* gravida incinta contraccet* aborto aborti parto partoriente ostetric* prenatale feto fetale
            sessual* sterilità
        """,
        "SDV": "stupro stuprata violenza+domestica violenza+sessuale violenza+partner abuso+sessuale abusi+sessuali",
        "VIO": "violenza violenze maltrattament* maltrattata",
        "GDIS": "genetica genetico genetici genetiche ereditari* mutazione mutazioni fibrosi+cistica cariotipo*",
        "COGN": "demenza* demenze",
    },
    "pt": {
        "MH": """
            depressão depressiv* ansiedade ansioso ansiosa pânico psicose psicoses psicótic* psicoterap* psiquiatr*
            esquizofren* autolesão automutil* antidepressiv* antipsicótic* tdah tept maníac*
        """,
        "SUD": """
            alcool* droga drogas drogadi* toxicodep* toxicoman* heroína cocaína opiáceo* overdose sobredosagem
            viciado viciada dependência+química maconha
        """,
        "HIV": "vih sida imunodeficiência*",
        "STD": "venérea* tricomon* herpes+genital*",
        "SEX": """
            gravidez* grávida grávidas gestante* gestação contracep* anticoncep* aborto abortos abortamento* parto
            partos obstétric* obstetrí* pré+natal feto fetal sexual sexuais infertilidade*
        """,
        "SDV": "estupro estuprada violação violência+doméstica violência+sexual violência+conjugal abuso+sexual",
        "VIO": "violência maus+tratos",
        "GDIS": "genétic* hereditári* mutação mutações fibrose+cística fibrose+quística cariótipo*",
        "COGN": "demência*",
    },
    "nl": {
        "MH": """
            angststoornis* paniekstoornis* paniekaanval* psychose psychoses zelfmoord* zelfdoding* zelfbeschadig*
            antidepressi* antipsychotic* persoonlijkheidsstoornis* eetstoornis* dwangstoornis* manisch* ptss adhd
        """,
        "SUD": """
            alcohol alcoholi* alcoholmis* alcoholgebruik* alcoholversl* alcoholafh* drugs+gebruik drugsgebruik*
            drugsversl* verslaafd* verslaving* cocaïne heroïne opiaten opiaat overdosis middelengebruik*
            middelenmisbruik*
        """,
        "HIV": "aids immuundefici*",
        "STD": "geslachtsziekte* trichomon* syfilis* genital*+herpes",
        "SEX": """
            zwanger* anticoncep* abortus miskraam* bevalling* verloskund* onvruchtba* foetus foetaal foetale seksue*
            spiraaltje*
        """,
        "SDV": """
            verkracht* kindermishandel* kindermisbruik* huiselijk*+geweld seksue*+geweld seksue*+misbruik
            partnergeweld*
        """,
        "VIO": "geweld geweldpleging* mishandel*",
        "GDIS": "genetisch* erfelijk* mutatie mutaties taaislijmziekte*",
        "COGN": "dementie* dementerend*",
    },
}

UNLESS: Final[dict[str, str]] = {
    "aids": r"(hearing|walking|mobility|visual|sleep|teaching|decision|memory|first|band|daily living) ?-?aids",
    "depressi*": r"(st|s-t|pr|segment|respiratory|respirat\w+|marrow|myelo\w*|cns|tongue|joint|skull)[ -]*depressi\w*"
    r"|depressi\w*[ -]+(of|der|des|de|du|del|do|van)?[ -]*(the )?(st\b|respira\w+|atem\w*|atmung|ademhaling)"
    r"|depressi\w* (fracture|respirator\w+)",
    "depressed": r"depressed (skull|cranial|fracture|fontanel\w*)|(st|segment) depressed",
    "depresión": r"depresion (respiratoria|medular|del (segmento )?st)",
    "depressão": r"depressao (respiratoria|medular|do (segmento )?st)",
    "lithium": r"lithium[ -]*hepar\w+|lith(ium)? hep",
    "litio": r"(heparina de|litio) ?-?(litio|heparina|eparina)|eparina di litio",
    "bipolar*": r"bipolar\w* (electro\w*|caut\w*|coag\w*|koag\w*|forceps|pinz\w*|hip|hemi\w*|prosth\w*|proth\w*|lead"
    r"|leads|pacing|limb|resection|turp?|diatherm\w*|schere\w*|elektro\w*|elettro\w*|duokopf\w*)",
    "panic": r"panic (value|values|level|levels|range)",
    "gad": r"(anti-?)?gad[ -]?(65|67|ab|antibod\w*|antik\w*|anticorp\w*|autoantib\w*)|anti-gad",
    "mental": r"mental (foramen|nerve|protuberance|tubercle|region)",
    "mentale*": r"(nerf|trou) mentale?",
    "alcohol": r"(isopropyl|rubbing|cetyl|benzyl|stearyl|polyvinyl|denatured) alcohol"
    r"|alcohol[ -](swabs?|wipes?|pads?|preps?|rubs?|based|gel|foam|70)|(non|no)[ -]?alcohol\w*",
    "alcoholi*": r"(non|no|niet)[ -]?alcoholi\w*|solucion (hidro)?alcoholica|(hidro|hydro)[ -]alcoholi\w*",
    "alkohol": r"(isopropyl|benzyl|cetyl|cetylstearyl)[ -]?alkohol",
    "alkoholi*": r"nicht[ -]?alkoholi\w*|alkoholische\w* (losung|loesung|hande\w*|haende\w*|desinf\w*)",
    "alcool*": r"non[ -]?alcooli\w*|nao[ -]?alcooli\w*|hydro[ -]?alcooli\w*|alcool (gel|70|em gel|isopropilico)"
    r"|(solution|tampon|compresse)s? alcooli\w*",
    "alcol*": r"non[ -]alcolic\w*|idro[ -]?alcolic\w*|alcol isopropilico|(tampone|salvietta) alcolic\w*",
    "intoxication": r"intoxication (alimentaire|au (monoxyde|co))|water intoxication|digoxin intoxication",
    "droga": r"droga (vaso\w+|antiepil\w+|anestesic\w+)",
    "drogas": r"drogas (vaso\w+|antiepil\w+|anestesic\w+|inotropic\w+)",
    "genotype": r"(hpv|hcv|hbv|viral|virus) genotype",
    "genital*+herpes": r"herpes zoster",
}
"""Everyday phrases by the built-in word that they hold: where it stands in no other way, it does not count."""
