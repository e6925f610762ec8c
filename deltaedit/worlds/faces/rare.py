"""The many rarer wordings for what is told of a face, beside the common ones of ``words.py``, in the same forms."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from deltaedit.worlds.faces.words import ATTRIBUTES, PEOPLE, SAID, Said, bare

RARE: dict[str, Said] = {
    "glasses": Said(
        adjectives="four-eyed",
        things="{their} specs on {their} nose, glasses on {their} nose, glasses perched on {their} nose",
        worn="specs, a pair of specs, goggles, horn-rims, horn-rimmed glasses, rimless glasses, wire-rimmed glasses, "
        "steel-rimmed glasses, thick-rimmed frames, thick-framed glasses, reading glasses, round glasses, bifocals, "
        "varifocals, a monocle, pince-nez, nerdy glasses, nerd glasses, geeky glasses, eyewear, thick glasses, "
        "granny glasses, reading specs, tortoiseshell frames, cat-eye glasses, corrective glasses",
    ),
    "sunglasses": Said(
        things="sunglasses over {their} eyes, {their} eyes hidden behind sunglasses",
        worn="sunnies, black glasses, wayfarers, mirrored glasses, mirror glasses, blacked-out glasses, "
        "smoked glasses, polarised glasses, polarized glasses, dark specs, black wraparounds, wraparound sunglasses, "
        "cool sunglasses, designer sunglasses, pilot glasses, mirrored sunglasses, oversized sunglasses, oakleys, "
        "ski goggles",
    ),
    "beard": Said(
        adjectives="whiskered, bewhiskered, whiskery, heavily bearded, full-bearded, thick-bearded, bushy-bearded, "
        "barbate",
        things="whiskers, a bushy beard, a thick beard, a big beard, a trimmed beard, a van dyke, a vandyke, "
        "mutton chops, mutton-chop whiskers, sideburns and a beard, a soul patch, chin whiskers, a chinstrap beard, "
        "a chin curtain, an imperial beard, a scruffy beard, a scraggly beard, a wispy beard, "
        "a beard on {their} chin, a lumberjack beard, a wizard's beard, a pointed beard, a patchy beard, "
        "a neat beard, an unkempt beard, a hipster beard, a garibaldi, chin fuzz, a well-kept beard, a circle beard, "
        "an untrimmed beard",
    ),
    "stubble": Said(
        adjectives="stubbled, unshaved, ill-shaven, scruffy, half-shaven, badly shaven",
        things="designer stubble, a stubbly chin, a day's growth, a few days' growth, a scruff, scruff, peach fuzz, "
        "fuzz on {their} cheeks, light stubble, heavy stubble, an unshaven chin, unshaven cheeks, a stubbly face, "
        "two days' growth, a rough chin, a prickly chin, prickly cheeks, scratchy cheeks, a weekend's growth, "
        "a sandpaper chin, stubble on {their} cheeks, a trace of stubble",
        doing="in need of a shave, in want of a razor",
    ),
    "moustache": Said(
        adjectives="moustachioed, mustached",
        things="a tash, a tache, a handlebar moustache, a handlebar mustache, a walrus moustache, "
        "a toothbrush moustache, a pencil moustache, a stache, a bushy moustache, a thick moustache, "
        "a waxed moustache, a twirled moustache, a horseshoe moustache, a thick mustache, a drooping moustache, "
        "a neat moustache, a trimmed moustache, a chevron moustache, a big moustache, "
        "a moustache under {their} nose, whiskers under {their} nose, a lush moustache, a thin moustache, "
        "a small moustache, an imperial moustache",
    ),
    "bald": Said(
        adjectives="bald-pated, chrome-domed, egg-headed, skinheaded, completely bald, totally bald, receding, "
        "half-bald",
        things="a bald pate, a bald patch, a bald spot, a bare head, a chrome dome, a bald crown, "
        "a receding hairline, a naked head, no hair at all, no hair on {their} head, a head like an egg, "
        "a head like a billiard ball, alopecia, a tonsure, a high hairline, not a hair on {their} head",
        doing="losing {their} hair, going bald",
    ),
    "short_hair": Said(
        things="a short haircut, a pageboy, a buzz, a short back and sides, a brush-top, a flattop, a mop-top, "
        "a short hairdo, a short bob, a short trim, a military haircut, an army haircut, a gamine hairstyle, "
        "a marine haircut, a short style",
        hair="very short, short-trimmed, close-clipped, clipped, trimmed, bobbed, chin-length, shorn, closely shorn, "
        "sheared, short-clipped, barely-there",
    ),
    "long_hair": Said(
        adjectives="long-locked",
        things="long locks, long strands, hippie hair, mermaid hair, hair over {their} shoulders, {their} hair down, "
        "a long hairdo, hair to {their} elbows, lengthy locks, hair extensions, long tendrils, rapunzel hair",
        hair="lengthy, very long, elbow-length, chest-length, endless, grown-out, overlong, trailing, streaming, "
        "past {their} shoulders, over {their} shoulders, below {their} shoulders, down {their} back, "
        "falling over {their} shoulders, draped over {their} shoulders, loose about {their} shoulders, worn long, "
        "unshorn, uncut, extra-long, longish, to {their} elbows, down past {their} shoulders",
    ),
    "tied_hair": Said(
        adjectives="pigtailed, pony-tailed",
        things="pigtails, a chignon, plaits, bunches, cornrows, an updo, a top knot, a french twist, a hair tie, "
        "a scrunchie, a beehive, a knot of hair, a hair band, hair slides, a french plait, a man-knot",
        hair="swept back, scraped back, combed back, brushed back, slicked back, drawn back, fastened back, "
        "gathered back, clipped back, pinned back, pinned up, put up, piled up, done up, swept up, gathered up, "
        "gelled back, in plaits, in pigtails, in a knot, in bunches, in a chignon, in cornrows, in a twist, "
        "in a scrunchie, in a rubber band, held back, knotted up, bound up, worn up, out of {their} face",
    ),
    "black_hair": Said(
        adjectives="jet-haired, sable-haired, inky-haired, coal-haired",
        things="black locks, jet-black locks, a black mop, black strands",
        hair="jet-black, jet, inky, ink-black, inky black, coal-black, pitch-black, midnight, midnight black, sable, "
        "onyx, blue-black, crow-black, deep black, charcoal-black, soot-black, sooty, obsidian, glistening black, "
        "pure black, liquorice, inky dark, pitch-dark, gothic black",
    ),
    "brown_hair": Said(
        adjectives="mousy-haired, walnut-haired, tawny-haired",
        things="brown locks, brown strands, a brown mop",
        hair="mousy, mouse-brown, dark brown, light brown, mid-brown, medium brown, nut-brown, hazel, "
        "coffee-coloured, coffee-colored, walnut, caramel, toffee, mocha, espresso, umber, tawny, fawn, deep brown, "
        "earthy brown, brownish, cinnamon brown, bark-brown, sepia, tobacco-brown, acorn-brown, bronde",
    ),
    "blond_hair": Said(
        adjectives="tow-headed, straw-haired, yellow-haired, light-haired, sandy-haired, honey-haired",
        things="blond locks, blonde locks, yellow locks, blond highlights, blond strands, a blond mop",
        hair="yellow, sandy, straw-coloured, straw-colored, honey, honey-blond, honey blonde, strawberry blonde, "
        "bleached, bleach-blond, peroxide, peroxide blonde, ash-blond, dirty blond, dirty blonde, butter-coloured, "
        "corn-coloured, wheat-coloured, lemon-coloured, light blond, tow-coloured, blondish, buttery, sand-coloured, "
        "champagne, vanilla, Nordic blond",
    ),
    "red_hair": Said(
        adjectives="carrot-topped, flame-haired, rust-haired, red-headed, titian-haired",
        things="red locks, fiery locks, a carrot top, a red mop, red strands",
        hair="carroty, flaming, flaming red, fiery, fiery red, flame-red, rust-coloured, rusty, orange, "
        "carrot-coloured, russet, foxy red, fox-red, cherry-red, bright red, dark red, brick-red, burgundy, "
        "tangerine, henna-red, hennaed, cinnamon, amber, maroon, wine-red, blood-red, vermilion, rufous, paprika, "
        "rose-red",
    ),
    "grey_hair": Said(
        adjectives="hoary-headed, snowy-haired, grey-headed, gray-headed, white-headed",
        things="grey locks, a grey mop, white locks, grey streaks, strands of grey, grey roots, grey temples",
        hair="greying, graying, snow-white, snowy, steel-grey, iron-grey, slate-grey, hoary, ashen, ash-grey, "
        "frosty, frosted, whitish, greyish, grayish, pure white, cotton-white, grizzled, speckled grey, pewter, "
        "smoke-grey, whitened, prematurely grey, granite-grey",
    ),
    "straight_hair": Said(
        adjectives="lank-haired",
        things="straight locks, straight strands, not a kink in {their} hair, straightened locks",
        hair="straightened, poker-straight, dead straight, lank, limp, pin-straight, silky straight, ruler-straight, "
        "arrow-straight, perfectly straight, stick-straight, rod-straight, unbending, chemically straightened, "
        "rebonded, uncurled, naturally straight, relaxed, lankly straight, very straight, totally straight",
    ),
    "wavy_hair": Said(
        things="waves, beach waves, loose waves, waves in {their} hair, finger waves, soft waves, wavy locks, "
        "wavy strands, gentle waves, a permanent wave, tumbling waves, wavelike locks, Hollywood waves, "
        "surfer waves, mermaid waves, a wave in {their} hair",
        hair="waved, beachy, tousled, wavelike, slightly wavy, softly wavy, loosely wavy, gently waving, kinked, "
        "sinuous, billowing, surfer, tumbling, in waves, falling in waves, in loose waves",
    ),
    "curly_hair": Said(
        adjectives="frizzled, curly-headed, curly-topped, mop-topped",
        things="curls, curly locks, corkscrew curls, spiral curls, tight curls, a mop of curls, a perm, coils, "
        "kinks, a jheri curl, a head of curls, a curly mop, bouncy curls, big curls, loose curls, spirals, "
        "corkscrews, a tangle of curls, coiled locks, a curly fro, a curly perm, curls all over {their} head",
        hair="curled, permed, corkscrew, kinky, coiled, coily, spiralling, crinkly, springy, tightly curled, woolly, "
        "bouncy, very curly, in curls, in tight curls, poodle-like",
    ),
    "bangs": Said(
        things="a cowlick, blunt bangs, side-swept bangs, wispy bangs, curtain bangs, long bangs, thick bangs, "
        "short bangs, straight bangs, bangs over {their} eyes, choppy bangs, full bangs, hair over {their} forehead, "
        "hair on {their} forehead, hair covering {their} forehead, feathered bangs, strands on {their} forehead, "
        "locks on {their} forehead, a covered forehead, {their} forehead covered by hair, an emo haircut, "
        "hair falling over {their} forehead, a bowl haircut, hair across {their} brows, a hidden forehead, "
        "hair down to {their} eyebrows, side bangs, a quiff over {their} forehead, {their} hair brushed forward, "
        "a curl on {their} forehead, a Cleopatra haircut, layered bangs, hair in {their} face, a Beatles haircut",
    ),
    "hat": Said(
        adjectives="behatted, hatted, capped, turbaned, helmeted",
        things="a hood over {their} head, {their} head covered, {their} cap pulled down, a scarf on {their} head",
        worn="a wool cap, a woolly hat, a knitted cap, a turban, a headscarf, a trilby, a baseball cap, a bowler, "
        "a top hat, a bonnet, a straw hat, a cowboy hat, a stetson, a hood, a helmet, a bobble hat, a panama, "
        "a bandana, a hijab, a skullcap, a fez, a sou'wester, a boater, a bucket hat, a ski cap, a fur hat, "
        "a balaclava, a crown, a sailor's cap, a peaked cap, a deerstalker, a derby hat, a kippah, a Santa hat, "
        "a party hat, a mortarboard, a snapback, a cloche, a cloth cap, a tam o'shanter, some headgear, "
        "a head covering, a trucker cap, a chef's hat, a police cap, a tricorne, a hard hat, a toque, a visor cap, "
        "a pork-pie hat, a shower cap, a nightcap, a homburg, a busby, a tuque",
    ),
    "lipstick": Said(
        adjectives="red-lipped, ruby-lipped",
        things="pink lips, ruby lips, bright red lips, cherry lips, cherry-red lips, lips of deep red, purple lips, "
        "coloured lips, colored lips, lips painted red, rouged lips, a red mouth, a painted mouth, plum lips, "
        "coral lips, blood-red lips, rosy lips, vivid lips, lacquered lips, lipsticked lips, hot pink lips, "
        "fuchsia lips, made-up lips, rose-red lips, dark red lips, magenta lips, lips as red as cherries, "
        "burgundy lips, vermilion lips, bold lips",
        worn="pink lipstick, dark lipstick, bright lipstick, matte lipstick, purple lipstick, "
        "colour on {their} lips, color on {their} lips, lipstick on {their} lips, rouge on {their} lips, "
        "paint on {their} lips, a lot of lipstick, coral lipstick, black lipstick, pink on {their} lips, "
        "red on {their} lips, bold lipstick",
    ),
    "earrings": Said(
        adjectives="earringed, bejewelled",
        things="earrings on, jewels in {their} ears, pearls in {their} ears, diamonds in {their} ears, "
        "rings in {their} ears, something sparkling in {their} ears, pendants on {their} ears, "
        "rings on {their} ears, jewelled ears, piercings in {their} ears, beads in {their} ears, "
        "ornaments on {their} ears, gems in {their} ears, tunnels in {their} ears, trinkets in {their} ears, "
        "adorned ears, a ring in one of {their} ears, sparkling ears",
        worn="pearl earrings, gold earrings, big earrings, long earrings, clip-ons, clip-on earrings, "
        "diamond earrings, chandelier earrings, jewelry on {their} ears, a single earring, small earrings, eardrops, "
        "earbobs, statement earrings, round earrings, tassel earrings, feather earrings, metal earrings, "
        "fancy earrings",
    ),
    "makeup": Said(
        adjectives="made-up, heavily made-up, rouged, powdered, dolled-up, glammed-up",
        things="painted eyes, painted cheeks, rouged cheeks, a painted face, powdered cheeks, "
        "blusher on {their} cheeks, false eyelashes, fake lashes, painted eyelids, smoky eyes, smokey eyes, "
        "kohl-rimmed eyes, powder on {their} face, {their} eyes made up, a powdered face, war paint, "
        "drawn-on eyebrows, eyelash extensions, glitter on {their} eyelids, contoured cheeks",
        worn="rouge, blush, blusher, foundation, powder, kohl, eye paint, heavy makeup, thick makeup, full makeup, "
        "greasepaint, face powder, face paint, concealer, eye pencil, stage makeup, beauty products, false lashes, "
        "bridal makeup, heavy make-up, glamorous makeup, party makeup, bright makeup, evening makeup, warpaint, "
        "lots of makeup, highlighter, contouring, maquillage",
    ),
    "smile": Said(
        adjectives="merry, glad, pleased, joyous, gleeful, laughing, chuckling, giggling, smirking, radiant, amused, "
        "blissful, ecstatic, elated, jovial, overjoyed, contented, good-humoured, smiley, sunny-tempered, mirthful, "
        "cheery, chirpy, tickled, light-hearted, exultant, friendly, good-natured, jubilant, rapturous, "
        "upbeat, thrilled, genial, bubbly, chuffed, high-spirited, good-tempered, enraptured, buoyant",
        things="a smirk, a laugh, a broad smile, a wide smile, a big smile, a faint smile, a slight smile, "
        "a sweet smile, a friendly smile, a warm smile, dimples, upturned lips, a simper, laughter on {their} face, "
        "a gentle smile, a happy face, a smiling face, smiling eyes, smiling lips, a chuckle, a giggle, "
        "a half-smile, a sunny smile, {their} lips curled in a smile, mirth in {their} eyes, a happy look, "
        "a warm expression, a pleased expression, a radiant smile, a winning smile, a Cheshire-cat smile",
        doing="laughing, chuckling, giggling, smirking, in high spirits, in a good mood, smiling broadly, "
        "smiling happily, full of joie de vivre, on cloud nine, bursting with happiness, saying cheese, "
        "cracking a smile, in stitches, roaring with laughter, flashing a smile, walking on air, chortling, "
        "sniggering, tittering, looking happy, looking pleased, full of happiness",
    ),
    "teeth": Said(
        things="visible teeth, bared teeth, white teeth, pearly whites, pearly teeth, a row of teeth, teeth showing, "
        "gleaming teeth, buck teeth, braces on {their} teeth, {their} teeth bared, {their} teeth visible, "
        "a gap between {their} teeth, gapped teeth, two rows of teeth, sparkling teeth, perfect teeth, "
        "crooked teeth, a mouthful of teeth, fangs, gnashers, {their} front teeth showing, {their} teeth in view, "
        "clenched teeth, gritted teeth",
        doing="baring {their} teeth, flashing {their} teeth, revealing {their} teeth, smiling with teeth, "
        "clenching {their} teeth, gritting {their} teeth, with all {their} teeth visible, "
        "showing {their} front teeth, smiling to show {their} teeth",
        part="teeth are visible, teeth are bared, teeth can be seen, teeth are in view, front teeth show",
    ),
    "open_mouth": Said(
        adjectives="wide-mouthed, singing, gasping, yelling, shrieking, panting, hollering, bellowing, crying out, "
        "calling out",
        things="a wide-open mouth, a half-open mouth, open lips, separated lips, {their} mouth ajar, "
        "{their} mouth slightly open, {their} tongue out, a round open mouth, a visible tongue, "
        "{their} mouth half open, {their} mouth fully open",
        doing="singing, talking, speaking, yelling, shrieking, gasping, roaring, howling, hollering, bellowing, "
        "opening {their} mouth, saying something, calling out, crying out, chanting, chatting, "
        "sticking {their} tongue out, gulping air, saying ah, reciting, uttering a word, "
        "belting out a song",
        part="mouth is wide open, lips are apart, mouth is ajar, mouth is slightly open",
    ),
    "closed_eyes": Said(
        adjectives="slumbering, snoozing, meditating, unconscious, dreaming, blinking",
        things="shut eyes, closed eyelids, shut eyelids, {their} eyelids closed, {their} eyelids shut, "
        "{their} lids down, {their} eyes tightly shut, {their} eyes firmly closed, both eyes closed, both eyes shut, "
        "closed lids, shut lids, {their} eyelids down, {their} eyes shut tight, eyes closed in prayer, "
        "eyes closed in bliss",
        doing="slumbering, snoozing, meditating, dreaming, blinking, in mid-blink, in deep slumber, in a trance, "
        "in a coma, closing {their} eyes, shutting {their} eyes, resting {their} eyes, taking forty winks, "
        "having a kip, in the land of nod, having a siesta, having a snooze, dead to the world, "
        "keeping {their} eyes shut, deep in meditation, lost in prayer, taking a rest, out cold",
        part="eyelids are closed, eyelids are shut, eyes are firmly shut, eyes are tightly closed, eyelids are down",
    ),
    "squint": Said(
        adjectives="squinty, squinty-eyed, narrow-eyed, heavy-lidded, beady-eyed, gimlet-eyed, eagle-eyed",
        things="a squint, squinting eyes, squinty eyes, narrow eyes, half-shut eyes, {their} eyes half shut, "
        "{their} eyes almost shut, nearly shut eyes, crinkled eyes, {their} eyes barely open, beady eyes, "
        "{their} eyelids narrowed, pinched eyes, hooded eyes, tightened eyelids, narrowed eyelids",
        doing="narrowing {their} eyes, blinking against the light, straining {their} eyes, "
        "trying to read small print, squinting hard, half shutting {their} eyes, creasing {their} eyes, "
        "crinkling {their} eyes, squinting at the light, squinting at the camera",
        part="eyes are half shut, eyes are almost shut, eyes are pinched, eyes are crinkled, eyes are barely open",
    ),
    "raised_brows": Said(
        adjectives="astounded, stunned, shocked, flabbergasted, dumbfounded, thunderstruck, wide-eyed, perplexed, "
        "taken aback, aghast, gobsmacked, bewildered, dumbstruck, incredulous, disbelieving, stupefied, awestruck, "
        "staggered, speechless, puzzled, sceptical, skeptical, bug-eyed, round-eyed, goggle-eyed, surprised-looking, "
        "nonplussed, wonder-struck",
        things="arched eyebrows, arched brows, high eyebrows, {their} eyebrows up, a surprised look, "
        "a look of surprise, {their} eyebrows arched, {their} brows raised, one eyebrow raised, a quizzical look, "
        "{their} eyebrows held high, a look of wonder, a look of disbelief, an incredulous look, "
        "{their} eyebrows hiked up, {their} eyes popping out, a raised eyebrow, eyebrows like arches",
        doing="arching {their} eyebrows, lost for words, looking shocked, looking stunned, in shock, in awe, "
        "in wonder, caught by surprise, caught off guard, raising an eyebrow, raising {their} brows, in disbelief, "
        "marvelling, wondering, cocking an eyebrow",
        part="brows are raised, eyebrows are arched, eyebrows are up",
    ),
    "frown": Said(
        adjectives="cross, peeved, irate, furious, sullen, sulky, moody, grim, stern, displeased, annoyed, "
        "irritated, vexed, mad, miffed, livid, enraged, fuming, glaring, sour, sad, upset, disgruntled, sorrowful, "
        "mournful, miserable, glum, morose, dour, bad-tempered, ill-tempered, dejected, aggrieved, indignant, "
        "resentful, hostile, incensed, ill-humoured, surly, crabby, cranky, stroppy, petulant, disapproving, "
        "worried, troubled, depressed, grouchy, bitter, tetchy, seething",
        things="knitted brows, knitted eyebrows, a glare, an angry look, a stern look, an angry face, "
        "creases between {their} eyebrows, a sour face, a face like thunder, a sullen look, a sad face, a grim look, "
        "downturned lips, {their} eyebrows drawn together, a grimace, a long face, a sad look, contracted brows, "
        "a black look, a deep frown, the corners of {their} mouth turned down, rage in {their} eyes, a hostile look",
        doing="knitting {their} eyebrows, knitting {their} brows, in a bad mood, in a temper, in a huff, in a rage, "
        "in a sulk, out of sorts, sulking, glaring, fuming, grimacing, looking cross, looking sad, looking stern, "
        "in low spirits, losing {their} temper, full of anger, seething with rage, seeing red, hopping mad, weeping, "
        "in tears, down in the dumps, in a foul mood, looking daggers",
    ),
    "pucker": Said(
        adjectives="pouty, tight-lipped, pursed-lipped, puckered up",
        things="a pout, pouting lips, a pouty mouth, puckered-up lips, protruding lips, pushed-out lips, "
        "{their} lips pushed out, {their} lips pressed together, {their} lips pouting, fish lips, "
        "{their} lips pushed forward, {their} mouth puckered, a moue, a pursed mouth, {their} mouth pursed, "
        "tightened lips, pinched lips, a sulky pout, a trout pout, rosebud lips, "
        "a bee-stung pout, {their} lips sticking out, a selfie pout, compressed lips, {their} lips thrust out",
        doing="pursing {their} lips, puckering up, pushing out {their} lips, sticking out {their} lips, "
        "giving a peck, sucking on a lemon, pressing {their} lips together, pulling a pout, "
        "drinking through a straw, playing the trumpet, making a moue, making fish lips, asking for a peck, "
        "about to give a peck, sucking a sweet, pouting for a selfie",
        part="lips are pouting, lips are pushed out, lips are pressed together, mouth is puckered, lips stick out",
    ),
    "child": Said(
        adjectives="childlike, childish, preteen, prepubescent",
        things="a childlike face, a childish face, a child's features",
        doing="of tender age, in {their} childhood, in primary school, in kindergarten, at nursery, "
        "in elementary school, under ten, still in diapers, still in nappies",
    ),
    "young": Said(
        adjectives="teenage, teenaged, twentyish, fresh-faced, youngish, very young, still young",
        things="a young face, a fresh young face, young features",
        doing="in {their} teens, in {their} late teens, in {their} early twenties, in {their} late twenties, "
        "in {their} mid-twenties, in the first flush of life, barely grown up, at high school, just out of school, "
        "coming of age, not yet thirty, under thirty, about twenty, with {their} life ahead, "
        "on the brink of adulthood",
    ),
    "middle_aged": Said(
        adjectives="mature, fortyish, fiftyish, middle-aged-looking, mid-aged",
        things="a middle-aged face, a mature face, mature features",
        doing="in {their} mid-forties, in {their} late forties, in {their} early forties, in {their} mid-fifties, "
        "in {their} early fifties, of a certain age, in {their} middle years, in middle age, in middle life, "
        "past forty, over forty, past {their} prime, neither young nor old, turning fifty, approaching fifty, "
        "around fifty, about forty, pushing fifty, on the wrong side of forty, of mature years",
    ),
    "old": Said(
        adjectives="aged, ageing, aging, senile, venerable, wizened, decrepit, age-worn, very old, doddery, "
        "long-lived, time-worn, weather-beaten",
        things="crow's feet, age spots, liver spots, sagging skin, saggy skin, a lined face, an old face, "
        "a weathered face, deep lines in {their} face, a leathery face, creased skin, crinkly skin, papery skin, "
        "jowls, a time-worn face, liver-spotted skin",
        doing="in {their} eighties, in {their} nineties, in {their} sixties, in old age, advanced in years, "
        "getting on in years, of advanced age, over seventy, past seventy, over the hill, well stricken in years, "
        "up in years, in {their} dotage, in {their} declining years, past retirement age",
    ),
    "man": Said(
        adjectives="male, manly, virile, macho, mannish",
        things="male features, manly features, a manly face, a male face",
    ),
    "woman": Said(
        adjectives="female, womanly, ladylike, girly",
        things="female features, womanly features, a womanly face, a female face",
    ),
    "turned_left": Said(
        adjectives="left-facing",
        things="{their} face turned to the left, {their} head to the left, {their} face to the left, "
        "{their} nose pointing left, {their} head turned left, {their} face turned left, "
        "{their} head twisted to the left, {their} eyes to the left, eyes left, {their} chin to the left, "
        "{their} eyes on something to the left",
        doing="turning left, turning to the left, facing to the left, turned left, glancing left, "
        "glancing to the left, looking over to the left, looking off to the left, looking towards the left, "
        "pointing left, heading left, swivelled to the left, facing the left side, in left profile, "
        "looking out to the left, looking at something on the left, turning {their} head left, "
        "turning {their} face to the left, watching something on the left, pointed to the left, angled to the left, "
        "facing the left edge, leaning left",
        part="face is turned to the left, nose points left, head is turned left, face is to the left",
    ),
    "turned_right": Said(
        adjectives="right-facing",
        things="{their} face turned to the right, {their} head to the right, {their} face to the right, "
        "{their} nose pointing right, {their} head turned right, {their} face turned right, "
        "{their} head twisted to the right, {their} eyes to the right, eyes right, {their} chin to the right, "
        "{their} eyes on something to the right",
        doing="turning right, turning to the right, facing to the right, turned right, glancing right, "
        "glancing to the right, looking over to the right, looking off to the right, looking towards the right, "
        "pointing right, heading right, swivelled to the right, facing the right side, in right profile, "
        "looking out to the right, looking at something on the right, turning {their} head right, "
        "turning {their} face to the right, watching something on the right, pointed to the right, "
        "angled to the right, facing the right edge, leaning right",
        part="face is turned to the right, nose points right, head is turned right, face is to the right",
    ),
    "looking_up": Said(
        adjectives="upward-looking",
        things="{their} head raised, {their} chin up, {their} chin raised, an upturned face, {their} face upturned, "
        "{their} head up, {their} eyes raised, {their} eyes turned up, {their} head tipped back, "
        "{their} head thrown back, {their} head leaning back, {their} face tilted up, {their} nose in the air, "
        "{their} eyes on the stars, {their} head held high, {their} eyes to heaven, {their} head tilted back, "
        "{their} head back, eyes up",
        doing="facing up, facing upwards, glancing up, peeping up, raising {their} head, raising {their} eyes, "
        "turning {their} eyes to heaven, looking at the stars, looking to heaven, watching the clouds, "
        "watching a bird fly over, tilting {their} head back, looking up high, "
        "watching the birds, turned upwards, looking upward, looking heavenwards, looking overhead",
        part="head is raised, chin is up, head is tilted up, face is upturned, head is tilted back",
    ),
    "looking_down": Said(
        adjectives="down-looking",
        things="{their} head bowed, {their} head down, {their} eyes lowered, {their} eyes down, a bowed head, "
        "{their} chin on {their} chest, {their} chin down, {their} head hung low, {their} head bent, "
        "{their} face down, {their} face lowered, lowered eyes, eyes down, "
        "{their} head tilted down, {their} eyes cast to {their} feet, {their} head bent forward",
        doing="glancing down, facing down, facing downwards, bowing {their} head, lowering {their} head, "
        "looking at {their} feet, looking at {their} shoes, lowering {their} eyes, reading a book, "
        "looking at {their} phone, looking at {their} hands, looking down low, bending {their} head, "
        "looking at {their} knees, turned downwards, looking downward",
        part="head is bowed, head is lowered, eyes are lowered, head is down",
    ),
    "pale_skin": Said(
        adjectives="pasty, wan, pale-skinned, pale-faced, white-skinned, pasty-faced, white-faced, ghostly, "
        "waxen, colorless, whey-faced, pale-complexioned, fair-complexioned, anaemic, "
        "deathly pale, vampire-pale, peaky, alabaster-skinned, bloodless, sallow, light-complexioned",
        things="white skin, light skin, alabaster skin, a pasty complexion, a fair complexion, a light complexion, "
        "pale cheeks, chalky skin, lily-white skin, snow-white skin, untanned skin, pasty skin, creamy skin, "
        "very pale skin, a pallor, a waxen complexion, ghostly skin, colourless cheeks, pearly skin, white cheeks, "
        "a peaches-and-cream complexion, translucent skin, skin as white as snow, skin like marble, an ashen face, "
        "a pale face, skin like wax",
    ),
    "dark_skin": Said(
        adjectives="black-skinned, dark-complexioned, dusky, swarthy, African-American, African",
        things="black skin, brown skin, deep brown skin, dusky skin, swarthy skin, a dusky complexion, "
        "a swarthy complexion, coffee-coloured skin, very dark skin, a deep complexion, deep skin, "
        "a black complexion, dark brown skin, sepia skin, a dark skin tone, a deep skin tone, dark cheeks, "
        "skin the colour of coffee, umber skin, African features, "
        "African looks, jet-black skin, espresso skin",
        doing="of African descent, with African roots, of colour, of color, from Africa, of dark complexion",
    ),
    "tanned_skin": Said(
        adjectives="browned, perma-tanned, well-tanned, deeply tanned, weather-browned, spray-tanned, freshly tanned",
        things="a deep tan, olive skin, an olive complexion, browned skin, a healthy tan, tan skin, a beach tan, "
        "a holiday tan, caramel skin, honey skin, a spray tan, a fake tan, a summer tan, tanned cheeks, tan lines, "
        "a tanned complexion, a sailor's tan, an all-over tan, a surfer's tan, a Mediterranean complexion, "
        "honey-coloured skin, olive-toned skin, skin browned on the beach, a light tan, a tropical tan, a tan face",
        doing="back from the beach, back from a tropical holiday, fresh from the tanning bed, "
        "fresh from the solarium, brown from the beach",
    ),
    "round_face": Said(
        adjectives="fat, chubby-cheeked, podgy, tubby, stout, rotund, pumpkin-faced, full-faced, wide-faced, "
        "apple-cheeked, corpulent, obese, fleshy, portly, big-cheeked, double-chinned, chubby-faced, broad-faced, "
        "round-cheeked, well-fed, roly-poly, heavy-set, cherubic, well-padded, porky, bloated, puffy, flabby, "
        "stocky",
        things="a fat face, full cheeks, fat cheeks, round cheeks, a chubby face, a double chin, puffy cheeks, "
        "a full face, a broad face, hamster cheeks, chipmunk cheeks, a fleshy face, puffed cheeks, a circular face, "
        "a puffy face, big cheeks, a bloated face, a face as round as an apple, fleshy cheeks, a podgy face, "
        "a round chin",
    ),
    "thin_face": Said(
        adjectives="narrow-faced, lean, lean-faced, slim, slim-faced, haggard, scrawny, emaciated, skeletal, "
        "hatchet-faced, sharp-faced, angular, lanky, underfed, malnourished, meagre, scraggy, sunken-cheeked, "
        "lantern-faced, horse-faced, cadaverous, long-faced, starved, half-starved, pinched-faced",
        things="sunken cheeks, a lean face, a slim face, a long narrow face, a haggard face, high cheekbones, "
        "sharp cheekbones, prominent cheekbones, a hatchet face, an oblong face, an angular face, a pointed chin, "
        "an emaciated face, a drawn face, sunken features, an elongated face, thin cheeks, a slim oval face, "
        "narrow cheeks, lean cheeks, chiselled cheekbones, concave cheeks",
    ),
    "bright_background": Said(
        things="a white wall behind, a white backdrop, a pale backdrop, a bright backdrop, a light backdrop, "
        "snow in the background, a white wall in the background, a white screen behind, "
        "an empty white studio behind, a bright window behind",
        ground="pale, snow-white, off-white, brilliant, plain white, pure white, whitish, light-coloured, cream, "
        "cream-coloured, very light, snowy, chalk-white, bleached, blank white, paper-white, sunny, "
        "whitewashed, high-key, bright white, radiant",
    ),
    "dark_background": Said(
        things="darkness behind, a black backdrop, a dark backdrop, a black wall behind, night in the background, "
        "a dark wall behind, a black curtain behind, darkness in the background, the night behind, "
        "a dark room behind",
        ground="pitch-black, jet-black, night-time, nocturnal, inky, plain black, charcoal, dark grey, deep black, "
        "unlit, darkened, blackish, pitch-dark, sombre, coal-black, low-key, blacked-out, lightless, pure black, "
        "dimmed, almost black",
    ),
    "green_background": Said(
        things="trees in the background, grass in the background, leaves in the background, a meadow behind, "
        "bushes in the background, a garden behind, a hedge behind, greenery in the background, a green wall behind, "
        "plants in the background, shrubs in the background, a park in the background, woods in the background, "
        "a jungle in the background, a green screen behind, ivy in the background, a green backdrop, "
        "ferns in the background, a field in the background, vegetation behind, palm trees in the background, "
        "a football pitch behind, a green curtain behind",
        ground="emerald, grassy, leafy, lime-green, olive-green, mint-green, greenish, verdant, moss-green, "
        "wooded, bottle-green, sea-green, lush green, jade, tree-lined, pea-green, "
        "pine-green",
    ),
    "blue_background": Said(
        things="the sea in the background, water in the background, a lake in the background, "
        "a swimming pool behind, a blue wall behind, a blue backdrop, a blue curtain behind, "
        "a river in the background, a clear blue heaven behind, a blue screen behind, blue behind, "
        "waves in the background, the Mediterranean in the background, a pool in the background, "
        "a blue wall in the background",
        ground="navy, navy-blue, sapphire, cobalt, cobalt-blue, cyan, indigo, bluish, sea-blue, aquamarine, "
        "ultramarine, royal-blue, cerulean, teal-blue, powder-blue, ice-blue, "
        "cornflower-blue, denim-blue, Prussian blue, electric blue, steel-blue, aqua",
    ),
    "bright_light": Said(
        adjectives="spotlit, well-lit, brilliantly lit, strongly lit, illuminated",
        things="light on {their} face, light falling on {their} face",
        light="in sunlight, in daylight, in broad daylight, in brilliant light, in glaring light, in harsh light, "
        "in intense light, in the spotlight, in full daylight, in blinding light, in the glare of a lamp, "
        "in the limelight, in flash light, in clear light, in studio light, on a sunny day, under bright lamps, "
        "under a spotlight, under strong lamps, in plenty of light, brilliantly lit, fully lit, strongly lit, "
        "in stage light",
    ),
    "dim_light": Said(
        adjectives="badly lit, ill-lit, half-lit, faintly lit, barely lit",
        things="darkness on {their} face, {their} face in the dark",
        light="in the dark, in faint light, in weak light, in poor light, in half-light, in bad light, "
        "in feeble light, at night, in moonlight, in the moonlight, in lamplight, by firelight, in darkness, "
        "in semi-darkness, in near darkness, after dark, after sunset, in subdued light, in little light, "
        "in the evening, badly lit, faintly lit, barely lit, in a dark room, by night, at nightfall, "
        "in a dark cellar, under a weak lamp, in failing light, weakly lit",
    ),
}
"""Phrases that are said less often, by attribute; nouns for ages and genders are in ``RARE_PEOPLE``."""

RARE_PEOPLE: dict[tuple[str, str], str] = {
    ("", ""): "human being, person, person, individual",
    ("", "man"): "mister, gent, daddy, dad, husband, brother, uncle, male person, male adult, grown man, "
    "he-man, boyfriend, groom, bridegroom, king, lord, prince, businessman, male model, handsome man, male human, "
    "man of the house, nobleman, macho man, hubby, salesman, actor, family man, handyman, buddy, bro, son, nephew, "
    "widower, bachelor",
    ("", "woman"): "mum, mom, mama, mommy, mummy, missus, wife, sister, aunt, auntie, dame, chick, queen, "
    "princess, bride, girlfriend, female person, female adult, grown woman, actress, waitress, businesswoman, "
    "housewife, daughter, niece, noblewoman, widow, diva, belle, goddess, beautiful woman, pretty woman, heroine, "
    "hostess, landlady, stewardess, countess, gentlewoman, bridesmaid, female model, female human, "
    "lady of the house",
    ("child", ""): "youngster, tot, little one, nipper, tiny tot, kiddie, kiddy, bairn, wee child, "
    "small child, moppet, tyke, rugrat, ankle-biter, little kid, small kid, young kid, newborn, urchin, brat, "
    "primary-school child, kindergarten child, nursery child, cherub, pupil, little angel, munchkin, little rascal, "
    "tiddler, wee one, tiny child, toddling child",
    ("child", "man"): "laddie, little lad, small lad, wee lad, choirboy, little prince, tiny boy, wee boy, "
    "little brother, little son, boy child, kid brother, small son",
    ("child", "woman"): "lassie, little lass, wee lass, little princess, little miss, tiny girl, wee girl, "
    "girlie, little sister, little daughter, girl child, kid sister, small daughter",
    ("young", ""): "teen, twentysomething, young one, freshman, millennial, juvenile, sophomore, "
    "high-schooler, teenaged person, zoomer, sixth-former, young grown-up, trainee, apprentice",
    ("young", "man"): "young lad, lad, young gent, stripling, young buck, teenage lad, teen boy, teenaged boy, "
    "young gentleman, whippersnapper, young bachelor, frat boy",
    ("young", "woman"): "young lass, maiden, young miss, damsel, teen girl, teenaged girl, teenage lass, "
    "debutante, young mum, young maiden, sorority girl",
    ("middle_aged", ""): "mature person, mature adult, middle-aged human, middle-aged individual, boomer, "
    "Gen-X person, person of a certain age, person in middle life",
    ("middle_aged", "man"): "mature man, middle-aged guy, middle-aged male, middle-aged dad, mature gentleman, "
    "man of a certain age, man in middle life, middle-aged husband",
    ("middle_aged", "woman"): "mature woman, middle-aged female, middle-aged mum, matron, mature lady, soccer mom, "
    "woman of a certain age, lady of middle age, middle-aged wife",
    ("old", ""): "oldster, elder, old-timer, retiree, octogenarian, nonagenarian, septuagenarian, "
    "centenarian, old fogey, aged person, grandparent",
    ("old", "man"): "old codger, codger, geezer, old geezer, patriarch, aged man, old gent, old boy, "
    "elderly male, elderly guy, old duffer, old man of eighty, old coot",
    ("old", "woman"): "gran, grandma, nan, nana, crone, old crone, hag, old hag, matriarch, biddy, old biddy, "
    "old dear, dowager, old dame, aged woman, little old lady, elderly female, old woman of eighty, old maid",
}
"""Nouns of ``PEOPLE`` that are said less often."""

IMPLIED: tuple[tuple[str, str], ...] = (
    ("laugh|chuckl|giggl|chortl|titter|stitches|cheese|Cheshire|ear to", "teeth"),
    ("smiling .*teeth", "smile"),
    ("smirk|simper|half-smile|(faint|slight) smile|(clench|gritt|grit).* teeth", "-open_mouth"),
    ("smirk|simper|half-smile|(faint|slight) smile", "-teeth"),
    ("(wide|bug|round|goggle)-eyed|popping out", "-closed_eyes -squint -sunglasses"),
    ("glar|daggers|in {their} eyes|smiling eyes|tears", "-closed_eyes -sunglasses"),
    ("(painted|smokey|smoky|kohl).* eyes|eyes made up|eyelids|eyelashes|lashes|eye (paint|pencil)", "-sunglasses"),
    ("weep|tears|sad|sorrow|mourn|dejected|miserable|glum", "-smile"),
    ("(bare|naked) head|bald (pate|patch|spot|crown)|tonsure|head like", "-hat"),
)
"""What a phrase tells beside its attribute, and, after «-», what it tells not to be there."""

_SENSES = [(re.compile(pattern), others.split()) for pattern, others in IMPLIED]


def agrees(phrase: str, labels: dict[str, float]) -> bool:
    """Whether nothing that a phrase tells beside its attribute is against the labels, each from 0 to 1 or nan.

    >>> agrees("laughing", {"teeth": 0.9}), agrees("laughing", {"teeth": 0.1})
    (True, False)
    """
    for pattern, others in _SENSES:
        if pattern.search(phrase):
            for other in others:
                label = labels.get(other.removeprefix("-"), float("nan"))
                if label > 0.5 if other[0] == "-" else label < 0.5:
                    return False
    return True


def sayings() -> list[tuple[str, str]]:
    """Every wording of every attribute, common and rare, bare as a user would type it, each with its attribute.

    Thousands are from ``sayings.csv``; the others are what captions are made of.

    A noun that tells an age tells it first of all, «granny» is old; the others tell a gender. None stands there twice
    and none holds a held-out word. To train a text head on single facts, and to leave one out.

    >>> [(phrase, name) for phrase, name in sayings() if phrase in ("beard", "goggles", "gran")]
    [('goggles', 'glasses'), ('beard', 'beard'), ('gran', 'old')]
    """
    found: dict[str, str] = {}
    for name in ATTRIBUTES:
        for table in (SAID, RARE):
            found |= {bare(form, phrase): name for form, phrase in table[name].phrases()} if name in table else {}
        for table in (PEOPLE, RARE_PEOPLE):
            for (age, gender), nouns in table.items():
                if name == (age or gender):
                    found |= dict.fromkeys(nouns.split(", "), name)
    with Path(__file__).with_name("sayings.csv").open(encoding="utf-8", newline="") as lines:
        more = {row["saying"]: row["attribute"] for row in csv.DictReader(lines)}
    return list((more | found).items())
